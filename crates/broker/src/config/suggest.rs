//! A guess at what a mistyped name was meant to be.

/// Longer names are not guessed at: the work grows with the length, and names
/// come from the network.
const LEN_MAX: usize = 100;

/// The nearest of `names` to `name`, if it is near enough to be meant.
pub(super) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LEN_MAX {
        return None;
    }
    let worst = (name.len() / 4).clamp(1, 4);
    let by_distance = names.map(|known| (distance(name, known), known));
    by_distance.filter(|(far, _)| *far <= worst).min().map(|(_, known)| known)
}

/// Edits (insert, delete, replace one byte) that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(b.bytes()) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("retention.ms", "retention.ms"), 0);
    }

    #[test]
    fn a_guess_is_near_or_none() {
        let names = ["retention.ms", "retention.bytes", "segment.ms"];
        assert_eq!(nearest("retenton.ms", names.into_iter()), Some("retention.ms"));
        assert_eq!(nearest("retention.byte", names.into_iter()), Some("retention.bytes"));
        assert_eq!(nearest("frobnicate", names.into_iter()), None);
    }
}
