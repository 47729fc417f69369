//! Text in Markdown.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Returns the text of a file with `new` between its lines `<!-- NAME -->` and `<!-- /NAME -->`.
pub fn replaced(path: &Path, name: &str, new: &str) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    replace(&text, name, new).with_context(|| format!("cannot use {}", path.display()))
}

fn replace(text: &str, name: &str, new: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&begin).with_context(|| format!("no {begin}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("no {end} behind {begin}"))?;
    Ok(format!("{before}{begin}\n{new}{end}{after}"))
}

/// Writes a file.
pub fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Formats 1234567 as 1,234,567.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_between_the_marks_is_replaced() {
        let text = "a\n<!-- b -->\nold\n<!-- /b -->\nz\n";
        assert_eq!(replace(text, "b", "new\n").unwrap(), "a\n<!-- b -->\nnew\n<!-- /b -->\nz\n");
        assert!(replace("<!-- /b --><!-- b -->", "b", "").is_err());
        assert!(replace("a", "b", "").is_err());
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
