//! Running commands: below the process supervisor, in a sandbox, with a heartbeat while they take long.

use std::time::Duration;

use crate::contract::CancelToken;
use crate::process::{Bounds, End, Finished, Spec, run};

/// How long a command may take when the agent does not say.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
/// The longest that an agent can ask for.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(3_600);
/// How often a long command shows that it is still running.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

/// How commands of an agent are run. Whoever makes one has seen to the sandbox.
pub struct Shell {
    /// Everything but argv and timeout.
    pub spec: Spec,
    /// How often a long command shows that it is still running.
    pub heartbeat: Duration,
}

impl Shell {
    /// Runs `command`, and says how it ended and what it wrote. The exit code always comes first.
    pub async fn run(
        &self,
        command: &str,
        timeout: Option<Duration>,
        cancel: &CancelToken,
        trace: &(dyn Fn(&str, &str) + Send + Sync),
    ) -> Result<String, String> {
        let timeout = timeout.unwrap_or(TIMEOUT_DEFAULT).min(TIMEOUT_MAX);
        let mut spec = self.spec.clone();
        spec.argv = ["bash", "-c", command].map(str::to_owned).to_vec();
        spec.bounds = Bounds::with_timeout(timeout);
        let lines = |stream: crate::process::Stream, line: &str| trace(stream.as_str(), line);
        let running = run(&spec, cancel, &lines);
        tokio::pin!(running);
        let mut beats: u32 = 0;
        let finished = loop {
            tokio::select! {
                finished = &mut running => break finished,
                () = tokio::time::sleep(self.heartbeat) => {
                    beats = beats.saturating_add(1);
                    trace("engine", &format!("still running after {} s", (self.heartbeat * beats).as_secs()));
                }
            }
        };
        match finished {
            Ok(finished) => Ok(shown(finished, timeout)),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn shown(finished: Finished, timeout: Duration) -> String {
    let Finished { end, stdout, stderr, left } = finished;
    let mut text = match end {
        End::Exited(code) => format!("exit code {code}\n"),
        End::Signalled(signal) => format!("exit code {} (signal {signal})\n", 128 + signal),
        End::TimedOut => format!("no exit code: it was ended after {} s\n", timeout.as_secs()),
        End::Cancelled => "no exit code: it was cancelled\n".to_owned(),
    };
    for (name, captured) in [("stdout", stdout), ("stderr", stderr)] {
        if captured.total() > 0 {
            text.push_str(&format!("--- {name}\n{}", String::from_utf8_lossy(&captured.into_blob())));
            if !text.ends_with('\n') {
                text.push('\n');
            }
        }
    }
    if left > 0 {
        text.push_str(&format!("[{left} processes could not be ended]\n"));
    }
    text
}
