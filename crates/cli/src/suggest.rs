//! What a mistyped name was meant to be.

/// The likeliest of the known names, if one is near enough to be a slip: as
/// many edits as a third of its letters.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, known)| *distance <= known.chars().count() / 3)
        .min()
        .map(|(_, known)| known)
}

/// `; did you mean NAME?`, or nothing: the end of an error about a name.
#[must_use]
pub fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean {name:?}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["orders", "payments"];
        assert_eq!(nearest("oders", known), Some("orders"));
        assert_eq!(nearest("order", known), Some("orders"));
        assert_eq!(nearest("clicks", known), None);
        assert_eq!(did_you_mean(Some("orders")), "; did you mean \"orders\"?");
        assert_eq!(did_you_mean(None), "");
    }
}
