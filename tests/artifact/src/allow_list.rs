//! The list of names that a module may leave undefined.

/// A name of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed<'a> {
    /// The number of its line, counted from one.
    pub line: usize,
    /// The name.
    pub name: &'a str,
}

/// The list, in the order of the file: one name a line, `#` begins a comment.
#[derive(Debug, Clone, Default)]
pub struct AllowList<'a> {
    /// The names.
    pub names: Vec<Allowed<'a>>,
}

impl<'a> AllowList<'a> {
    /// Reads the list. The rest of a line without its comment and surrounding space is a name. The
    /// check reports names that are out of order or not single words.
    pub fn parse(text: &'a str) -> Self {
        let names = text
            .lines()
            .enumerate()
            .map(|(index, line)| Allowed {
                line: index + 1,
                name: line.split('#').next().unwrap_or_default().trim(),
            })
            .filter(|allowed| !allowed.name.is_empty())
            .collect();
        Self { names }
    }

    /// Returns whether `name` is on the list.
    pub fn contains(&self, name: &str) -> bool {
        self.names.iter().any(|allowed| allowed.name == name)
    }
}
