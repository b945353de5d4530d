//! What a tool shows: so much of it, and the rest as a blob that can be read by range.

use std::sync::{Arc, Mutex, PoisonError};

use wf_ir::Digest;
use wf_store::Blobs;

/// Most bytes of a result that a model is shown.
pub const SHOWN_BYTES_MAX: usize = 16 << 10;
/// Most bytes of a result that are kept.
pub const KEPT_BYTES_MAX: usize = 8 << 20;
/// Most results kept for one agent; later ones are cut without being kept.
pub const OUTPUTS_MAX: usize = 200;
/// How a kept result is named where a path is expected.
pub const PREFIX: &str = "output:";

/// The results of one agent that were too long to show.
pub struct Outputs {
    blobs: Arc<dyn Blobs>,
    kept: Mutex<Vec<Digest>>,
}

/// Which part of a text is shown of one that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Its beginning.
    First,
    /// A little of its beginning, and its end: how commands end is what matters.
    Ends,
}

impl Outputs {
    /// Nothing yet.
    pub fn new(blobs: Arc<dyn Blobs>) -> Self {
        Self { blobs, kept: Mutex::default() }
    }

    /// The text as it is shown.
    pub async fn cap(&self, text: String, show: Show) -> String {
        if text.len() <= SHOWN_BYTES_MAX {
            return text;
        }
        let total = text.len();
        let (head, tail) = match show {
            Show::First => (SHOWN_BYTES_MAX, 0),
            Show::Ends => (SHOWN_BYTES_MAX / 4, SHOWN_BYTES_MAX / 4 * 3),
        };
        let head = &text[..text.floor_char_boundary(head)];
        let tail = &text[text.ceil_char_boundary(total - tail)..];
        let left = total - head.len() - tail.len();
        let shown = (head.to_owned(), tail.to_owned());
        let where_it_is = match self.keep(text).await {
            Some(name) => format!("read them from \"{name}\" with `offset` and `limit` in bytes"),
            None => "they are not kept".to_owned(),
        };
        format!("{}\n[{left} of {total} bytes are not shown; {where_it_is}]\n{}", shown.0, shown.1)
    }

    async fn keep(&self, mut text: String) -> Option<String> {
        text.truncate(text.floor_char_boundary(KEPT_BYTES_MAX));
        if self.len() >= OUTPUTS_MAX {
            return None;
        }
        let digest = self.blobs.put(text.into_bytes().into()).await.ok()?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(digest);
        Some(format!("{PREFIX}{}", kept.len()))
    }

    fn len(&self) -> usize {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// A range of what is kept under `name`.
    pub async fn read(&self, name: &str, offset: usize, limit: usize) -> Result<String, String> {
        let number = name.strip_prefix(PREFIX).and_then(|number| number.parse::<usize>().ok());
        let digest = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            number.and_then(|number| number.checked_sub(1)).and_then(|at| kept.get(at).copied())
        };
        let digest = digest.ok_or_else(|| format!("there is no output {name:?}"))?;
        let bytes = self.blobs.get(&digest).await.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&bytes);
        let begin = text.ceil_char_boundary(offset.min(text.len()));
        let end = text.floor_char_boundary(begin.saturating_add(limit.min(SHOWN_BYTES_MAX)).min(text.len()));
        let end = end.max(begin);
        Ok(format!("[bytes {begin} to {end} of {}]\n{}", text.len(), &text[begin..end]))
    }
}
