//! Records and the hash chain that binds them: `hash(n) = BLAKE3(hash(n-1), seq, kind, at_ms, payload)`, which begins
//! with the digest of the run's id, so that no record can move, change or vanish unseen.

use wf_ir::Digest;

use crate::{RunId, Seq};

/// What a record is; the store's only knowledge of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// Something that the world told the run.
    Input,
    /// What was derived from one input and the state before it.
    Decision,
}

impl RecordKind {
    /// The byte that is stored and hashed.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Input => 0,
            Self::Decision => 1,
        }
    }

    /// The kind that `byte` stands for.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Input),
            1 => Some(Self::Decision),
            2.. => None,
        }
    }
}

/// A record that is to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// Input or decision.
    pub kind: RecordKind,
    /// The time at which it was taken in.
    pub at_ms: i64,
    /// The event, as JSON text.
    pub payload: String,
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its position in the log; the first is 1.
    pub seq: Seq,
    /// Input or decision.
    pub kind: RecordKind,
    /// The time at which it was taken in.
    pub at_ms: i64,
    /// The event, as JSON text.
    pub payload: String,
    /// Its place in the hash chain.
    pub hash: Digest,
}

/// Where the hash chain of `run` begins: the hash before the first record.
pub fn chain_start(run: &RunId) -> Digest {
    Digest::of(run.as_str().as_bytes())
}

/// The hash of the record at `seq` whose predecessor has the hash `before`.
pub fn chain_hash(before: &Digest, seq: Seq, kind: RecordKind, at_ms: i64, payload: &str) -> Digest {
    // One flat buffer for what is usual: hashing it at once is faster than feeding the parts.
    const FIXED: usize = 32 + 8 + 1 + 8;
    const SHORT: usize = 1024;
    let mut fixed = [0u8; FIXED];
    fixed[..32].copy_from_slice(&before.0);
    fixed[32..40].copy_from_slice(&seq.0.to_le_bytes());
    fixed[40] = kind.byte();
    fixed[41..].copy_from_slice(&at_ms.to_le_bytes());
    if payload.len() <= SHORT - FIXED {
        let mut flat = [0u8; SHORT];
        flat[..FIXED].copy_from_slice(&fixed);
        flat[FIXED..FIXED + payload.len()].copy_from_slice(payload.as_bytes());
        return Digest::of(&flat[..FIXED + payload.len()]);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&fixed);
    hasher.update(payload.as_bytes());
    Digest(*hasher.finalize().as_bytes())
}

/// A walk along a hash chain, record by record. It is what `read`, `verify`, replay and import check a log with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The last record that was accepted.
    pub seq: Seq,
    /// Its hash.
    pub hash: Digest,
}

impl Chain {
    /// Before the first record of `run`.
    pub fn start(run: &RunId) -> Self {
        Self { seq: Seq::START, hash: chain_start(run) }
    }

    /// Extends the chain by a record that is being written, and gives the record's hash.
    pub fn extend(&mut self, record: &NewRecord) -> Digest {
        self.seq = self.seq.next();
        self.hash = chain_hash(&self.hash, self.seq, record.kind, record.at_ms, &record.payload);
        self.hash
    }

    /// Extends the chain by a record that was read, or says why it does not fit. The first bad position is then the
    /// one after `self.seq`.
    pub fn accept(&mut self, record: &StoredRecord) -> Result<(), String> {
        let seq = self.seq.next();
        if record.seq != seq {
            return Err(format!("the record is missing, the next one is {}", record.seq));
        }
        let hash = chain_hash(&self.hash, seq, record.kind, record.at_ms, &record.payload);
        if hash != record.hash {
            return Err("its hash does not match its content and its predecessor".to_owned());
        }
        *self = Self { seq, hash };
        Ok(())
    }

    /// Compares the end of the chain with what the run's head says: the first bad position and what is wrong.
    pub fn finish(&self, head_seq: Seq, head_hash: &Digest) -> Result<(), (Seq, String)> {
        if self.seq < head_seq {
            return Err((self.seq.next(), format!("the log ends before it, the head names {head_seq}")));
        }
        if self.seq > head_seq {
            return Err((head_seq.next(), format!("the head names {head_seq}, yet the log goes on")));
        }
        if self.hash != *head_hash {
            return Err((head_seq, "the hash in the head is not the hash of the last record".to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn run() -> RunId {
        RunId::parse("r1").unwrap()
    }

    #[test]
    fn the_chain_is_fixed_for_ever() {
        let start = chain_start(&run());
        let first = chain_hash(&start, Seq(1), RecordKind::Input, 1_700_000_000_000, r#"{"created":{}}"#);
        let second = chain_hash(&first, Seq(2), RecordKind::Decision, -1, "");
        let long = chain_hash(&second, Seq(3), RecordKind::Decision, 0, &"x".repeat(5000));
        expect![[r#"
            5966598b377ee4e39c81bb5c2496b1b33494d9dd089b72b8c4e350f51d95995c
            a52ccfc35c48f7a8077a23fa763d79bea2ad6cb502f55595eeaca9994d1e4848
            3cc33c032a7cdbaebc4bba9e50c748a2b7b2670c740b76ec4f0b66e3204bb5ce
            0c836fdd1ad54c107d24cbc097be46c46a78c27750a83c3cf07d5905adb1c47f"#]]
        .assert_eq(&format!("{start}\n{first}\n{second}\n{long}"));
    }

    #[test]
    fn short_and_long_payloads_are_hashed_alike() {
        let start = chain_start(&run());
        for len in [0, 1, 974, 975, 976, 1024, 4096] {
            let payload = "p".repeat(len);
            let mut flat = start.0.to_vec();
            flat.extend(7u64.to_le_bytes());
            flat.push(1);
            flat.extend((-5i64).to_le_bytes());
            flat.extend(payload.as_bytes());
            assert_eq!(chain_hash(&start, Seq(7), RecordKind::Decision, -5, &payload), Digest::of(&flat), "{len}");
        }
    }

    #[test]
    fn every_part_of_a_record_counts() {
        let start = chain_start(&run());
        let base = chain_hash(&start, Seq(1), RecordKind::Input, 5, "a");
        for other in [
            chain_hash(&base, Seq(1), RecordKind::Input, 5, "a"),
            chain_hash(&start, Seq(2), RecordKind::Input, 5, "a"),
            chain_hash(&start, Seq(1), RecordKind::Decision, 5, "a"),
            chain_hash(&start, Seq(1), RecordKind::Input, 6, "a"),
            chain_hash(&start, Seq(1), RecordKind::Input, 5, "b"),
        ] {
            assert_ne!(base, other);
        }
    }
}
