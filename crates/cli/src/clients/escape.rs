//! Escapes in texts of the command line: `\t`, `\x1f`.

use bytes::Bytes;

/// The byte that an escape means; its backslash is read.
///
/// # Errors
/// It means nothing: as a sentence.
pub(crate) fn escape(characters: &mut std::str::Chars<'_>) -> Result<u8, String> {
    Ok(match characters.next() {
        Some('n') => b'\n',
        Some('t') => b'\t',
        Some('r') => b'\r',
        Some('\\') => b'\\',
        Some('x') => {
            let digits: String = characters.by_ref().take(2).collect();
            let byte = (digits.len() == 2).then(|| u8::from_str_radix(&digits, 16).ok()).flatten();
            byte.ok_or_else(|| format!("\\x{digits} is no byte: say two hexadecimal digits"))?
        }
        other => {
            let other = other.map(String::from).unwrap_or_default();
            return Err(format!("\\{other} means nothing: there are \\n \\t \\r \\\\ and \\xHH"));
        }
    })
}

/// A text with its escapes as the bytes that they mean.
///
/// # Errors
/// It is empty, or an escape means nothing: as a sentence.
pub(crate) fn separator(text: &str) -> Result<Bytes, String> {
    let mut bytes = Vec::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => bytes.push(escape(&mut characters)?),
            other => bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    if bytes.is_empty() { Err("it is empty".to_owned()) } else { Ok(Bytes::from(bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separator_is_any_bytes() {
        let bytes = |text: &str| separator(text).map(|bytes| bytes.to_vec());
        assert_eq!(bytes("\\t"), Ok(b"\t".to_vec()));
        assert_eq!(bytes("::"), Ok(b"::".to_vec()));
        assert_eq!(bytes("\\xff\\\\"), Ok(b"\xff\\".to_vec()));
        assert!(bytes("").is_err() && bytes("\\q").is_err() && bytes("\\").is_err());
    }
}
