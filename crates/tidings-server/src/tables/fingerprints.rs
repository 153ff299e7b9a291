//! The rows of the repeats index: a five-byte hash of (sender, client id) for each entry, in runs of 1,024 seqs.
//! Only the bytes; the index in memory, and the confirming of a hit by reading the entry, are the conversation's.
//!
//! A row: version of the format (1), crc32c of the rest (4, little-endian), then the hashes in the order of seqs.

use tidings_proto::{Seq, UserId};

/// Entries of one row. A row is written when its run is complete.
pub const RUN: u64 = 1_024;

const VERSION: u8 = 1;
const HEAD: usize = 5;

/// A short hash; two different ids have the same one once in 10^12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 5]);

impl Fingerprint {
    /// Of an entry that no client made. No id has it.
    pub const NO_ID: Self = Self([0; 5]);

    pub fn of(user: &UserId, client_msg_id: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        // A name has no NUL, so no other pair makes these bytes.
        hasher.update(user.as_str().as_bytes()).update(&[0]).update(client_msg_id.as_bytes());
        let [a, b, c, d, e, ..] = *hasher.finalize().as_bytes();
        match Self([a, b, c, d, e]) {
            Self::NO_ID => Self([0, 0, 0, 0, 1]),
            fingerprint => fingerprint,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintsError {
    #[error("format {0} of fingerprints is not known to this version of tidings")]
    UnknownVersion(u8),
    #[error("the checksum of the fingerprints is wrong")]
    Checksum,
    #[error("the fingerprints break off")]
    Malformed,
}

/// The first seq of the run that `seq` belongs to: 1, 1,025, 2,049 …
pub fn run_of(seq: Seq) -> Seq {
    Seq(seq.0.saturating_sub(1) / RUN * RUN + 1)
}

pub fn encode(run: &[Fingerprint]) -> Vec<u8> {
    let mut value = vec![VERSION, 0, 0, 0, 0];
    value.extend(run.iter().flat_map(|fingerprint| fingerprint.0));
    let checksum = crc32c::crc32c(&value[HEAD..]).to_le_bytes();
    value[1..HEAD].copy_from_slice(&checksum);
    value
}

pub fn decode(value: &[u8]) -> Result<Vec<Fingerprint>, FingerprintsError> {
    match value.first() {
        Some(&VERSION) => {}
        Some(&version) => return Err(FingerprintsError::UnknownVersion(version)),
        None => return Err(FingerprintsError::Malformed),
    }
    let (head, hashes) = value.split_at_checked(HEAD).ok_or(FingerprintsError::Malformed)?;
    if head[1..] != crc32c::crc32c(hashes).to_le_bytes() {
        return Err(FingerprintsError::Checksum);
    }
    let (hashes, rest) = hashes.as_chunks::<5>();
    if !rest.is_empty() {
        return Err(FingerprintsError::Malformed);
    }
    Ok(hashes.iter().copied().map(Fingerprint).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_survives_its_bytes_and_a_flipped_bit_is_reported() {
        let ada = UserId::new("ada").unwrap();
        let mut run: Vec<_> = (0..RUN).map(|n| Fingerprint::of(&ada, &format!("c-{n}"))).collect();
        run[7] = Fingerprint::NO_ID;
        let value = encode(&run);
        assert_eq!(decode(&value), Ok(run));
        for at in 0..value.len() {
            let mut wrong = value.clone();
            wrong[at] ^= 4;
            assert!(decode(&wrong).is_err(), "byte {at}");
        }
        assert!(decode(&value[..value.len() - 1]).is_err());
    }

    #[test]
    fn sender_and_id_are_told_apart() {
        let (ab, a) = (UserId::new("ab").unwrap(), UserId::new("a").unwrap());
        assert_ne!(Fingerprint::of(&ab, "c"), Fingerprint::of(&a, "bc"));
    }

    #[test]
    fn runs_begin_at_one_and_follow_each_other() {
        let runs: Vec<_> = [1, 1_024, 1_025, 2_048, 2_049].map(|seq| run_of(Seq(seq)).0).into();
        assert_eq!(runs, [1, 1, 1_025, 1_025, 2_049]);
    }
}
