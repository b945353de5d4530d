//! Names that nobody else has.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use wf_store::RunId;

use crate::error::Error;

/// Digits of a run id: no `i`, `l`, `o` or `u`, which are misread or make words.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Digits that tell the time: 50 bits of milliseconds.
const TIME_DIGITS: u32 = 10;
/// Digits that are random.
const RANDOM_DIGITS: usize = 16;

/// A new run's id: ids sort by the time at which they were made.
///
/// # Errors
/// When the system gives no random bytes.
pub(crate) fn new_run_id(at_ms: i64) -> Result<RunId, Error> {
    let time = u64::try_from(at_ms).unwrap_or(0);
    let digit = |place: u32| char::from(DIGITS[(time >> (5 * place) & 31) as usize]);
    let time: String = (0..TIME_DIGITS).rev().map(digit).collect();
    let text = format!("{time}{}", random_text(RANDOM_DIGITS)?);
    RunId::parse(&text).map_err(|error| Error::Bug(error.to_string()))
}

/// Random digits.
///
/// # Errors
/// When the system gives no random bytes.
pub(crate) fn random_text(digits: usize) -> Result<String, Error> {
    let mut bytes = vec![0; digits];
    let path = Path::new("/dev/urandom");
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).map_err(Error::io("read", path))?;
    Ok(bytes.iter().map(|byte| char::from(DIGITS[usize::from(byte & 31)])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_differ() {
        let ids: Vec<_> = [0, 1, 31, 32, 1_700_000_000_000, 1_700_000_000_001, i64::from(u32::MAX) << 17]
            .map(|at| new_run_id(at).unwrap().to_string())
            .into();
        assert!(ids.is_sorted(), "{ids:?}");
        assert!(ids.iter().all(|id| id.len() == 26), "{ids:?}");
        assert_ne!(new_run_id(5).unwrap(), new_run_id(5).unwrap());
    }
}
