//! CRC32C of two runs of bytes, one behind the other, from that of each: bytes
//! that were summed once are not read again because others stand before them.
//!
//! A CRC is the remainder of a polynomial over GF(2); to append `n` bytes is to
//! multiply what came before by x^8n. The factors come from a table by the
//! bytes of `n`, so that this costs four multiplications at most. Called by
//! [`crate::batch`].

/// The polynomial of CRC32C, its lowest power in the highest bit, as all
/// values here.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The polynomial 1.
const ONE: u32 = 1 << 31;

/// `FACTORS[i][n]` is x to the power of 8 n 256^i.
static FACTORS: [[u32; 256]; 4] = factors();

/// The CRC32C of bytes with CRC `first`, followed by `second_len` bytes with
/// CRC `second`.
#[must_use]
pub(crate) fn concatenated(first: u32, second: u32, second_len: u32) -> u32 {
    let mut shifted = first;
    for (factors, digit) in FACTORS.iter().zip(second_len.to_le_bytes()) {
        if let Some(factor) = factors.get(usize::from(digit)).filter(|_| digit != 0) {
            shifted = product(shifted, *factor);
        }
    }
    shifted ^ second
}

/// `a` times `b`, modulo the polynomial.
const fn product(mut a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut power = 0;
    while power < 32 {
        // Masks in place of branches, which nobody could predict.
        product ^= b & (a >> 31).wrapping_neg();
        a <<= 1;
        b = (b >> 1) ^ (POLYNOMIAL & (b & 1).wrapping_neg());
        power += 1;
    }
    product
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which checks it")]
const fn factors() -> [[u32; 256]; 4] {
    let mut factors = [[ONE; 256]; 4];
    // x^8, then x to the power of 8 256^i.
    let mut step = ONE >> 8;
    let mut digit = 0;
    while digit < 4 {
        let mut n = 1;
        while n < 256 {
            factors[digit][n] = product(factors[digit][n - 1], step);
            n += 1;
        }
        step = product(factors[digit][255], step);
        digit += 1;
    }
    factors
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_behind_changes_nothing() {
        assert_eq!(concatenated(0x1234_5678, crc32c::crc32c(&[]), 0), 0x1234_5678);
    }

    #[test]
    fn long_runs_count_by_all_bytes_of_their_length() {
        let bytes = vec![0x5a; (1 << 24) + 70_000];
        let (head, rest) = bytes.split_at(21);
        let len = u32::try_from(rest.len()).unwrap();
        let crc = concatenated(crc32c::crc32c(head), crc32c::crc32c(rest), len);
        assert_eq!(crc, crc32c::crc32c(&bytes));
    }

    proptest! {
        #[test]
        fn it_is_the_crc_of_both(
            first in prop::collection::vec(any::<u8>(), 0..100),
            second in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            let len = u32::try_from(second.len()).unwrap();
            let crc = concatenated(crc32c::crc32c(&first), crc32c::crc32c(&second), len);
            prop_assert_eq!(crc, crc32c::crc32c(&[first, second].concat()));
        }
    }
}
