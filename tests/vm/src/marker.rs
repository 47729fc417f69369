//! Messages from the guest to the runner: `@@KT:word:field...@@` in the console's stream.
//!
//! Kernel messages share that stream and may land anywhere, even inside a marker. Only an unbroken
//! marker is therefore accepted, and the guest writes each marker twice.

use std::fmt;

use crate::image::Arch;

/// A message from the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marker {
    /// The guest takes requests.
    Ready(System),
    /// The guest cannot use the files that it received, for this reason.
    Broken(String),
    /// A test begins.
    Begin(String),
    /// A test has ended.
    End(End),
    /// The module was loaded at these addresses.
    Module(Range),
    /// The interactive shell has ended.
    Bye,
}

/// The system that has been booted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct System {
    /// Release, as printed by `uname -r`.
    pub release: String,
    /// Machine, as printed by `uname -m`.
    pub machine: String,
    /// Kernel configuration, as printed by `uname -i`.
    pub ident: String,
    /// Whether the kernel has WITNESS.
    pub witness: bool,
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.witness { " (WITNESS)" } else { "" };
        write!(f, "FreeBSD {} {} {}{kind}", self.release, self.machine, self.ident)
    }
}

impl System {
    /// Returns the machine architecture.
    pub fn arch(&self) -> Arch {
        if self.machine == "arm64" { Arch::Arm64 } else { Arch::Amd64 }
    }

    /// Returns the major release and the machine, as in `15-amd64`.
    pub fn target(&self) -> String {
        format!("{}-{}", self.release.split('.').next().unwrap_or_default(), self.machine)
    }
}

/// The end of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Name of the test.
    pub name: String,
    /// Exit status of the test.
    pub status: u8,
    /// Things that the test left behind: `processes`, `mounts`, `traced`, `module`; or
    /// `stuck`, if they could not be cleaned up.
    pub left: Vec<String>,
}

/// Addresses in the guest's kernel, `start` to `end` (exclusive).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first address.
    pub start: u64,
    /// The address after the last.
    pub end: u64,
}

impl Range {
    /// Returns whether `address` lies in the range.
    pub fn contains(self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }
}

/// Start of a marker.
pub const OPEN: &str = "@@KT:";
const CLOSE: &str = "@@";

/// Returns all whole markers in `text`, in order.
pub fn all(text: &str) -> impl Iterator<Item = Marker> + '_ {
    text.match_indices(OPEN).filter_map(|(at, _)| {
        let rest = &text[at + OPEN.len()..];
        parse(&rest[..rest.find(CLOSE)?])
    })
}

fn parse(body: &str) -> Option<Marker> {
    let fields: Vec<&str> = body.split(':').collect();
    if fields.iter().any(|field| field.is_empty() || !field.bytes().all(is_field_byte)) {
        return None;
    }
    match fields[..] {
        ["ready", release, machine, ident, witness] => Some(Marker::Ready(System {
            release: release.into(),
            machine: machine.into(),
            ident: ident.into(),
            witness: match witness {
                "witness" => true,
                "plain" => false,
                _ => return None,
            },
        })),
        ["broken", why] => Some(Marker::Broken(why.replace('_', " "))),
        ["begin", name] => Some(Marker::Begin(name.into())),
        ["end", name, status, left] => Some(Marker::End(End {
            name: name.into(),
            status: status.parse().ok()?,
            left: left.split(',').filter(|&thing| thing != "-").map(Into::into).collect(),
        })),
        ["module", address, size] => {
            let start = u64::from_str_radix(address.trim_start_matches("0x"), 16).ok()?;
            let size = u64::from_str_radix(size, 16).ok()?;
            Some(Marker::Module(Range { start, end: start.checked_add(size)? }))
        }
        ["bye"] => Some(Marker::Bye),
        _ => None,
    }
}

fn is_field_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-+,".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(name: &str, status: u8, left: &[&str]) -> Marker {
        let left = left.iter().map(|&thing| thing.into()).collect();
        Marker::End(End { name: name.into(), status, left })
    }

    #[test]
    fn finds_markers_among_noise() {
        let text = "noise @@KT:begin:a-1@@\nkernel: foo\n\n@@KT:end:a-1:77:-@@\n";
        let found: Vec<_> = all(text).collect();
        assert_eq!(found, [Marker::Begin("a-1".into()), end("a-1", 77, &[])]);
    }

    #[test]
    fn a_marker_with_a_message_inside_does_not_count_but_its_repetition_does() {
        let text = "@@KT:end:load:0pid 12 (sh), uid 0: exited\n:-@@\n@@KT:end:load:0:-@@\n";
        assert_eq!(all(text).collect::<Vec<_>>(), [end("load", 0, &[])]);
    }

    #[test]
    fn a_marker_cut_off_by_the_next_does_not_count() {
        let text = "@@KT:end:lo@@KT:end:load:1:traced,module@@";
        assert_eq!(all(text).collect::<Vec<_>>(), [end("load", 1, &["traced", "module"])]);
    }

    #[test]
    fn what_is_broken_is_said_in_words() {
        let found = all("@@KT:broken:no_module_for_15-amd64@@").next();
        assert_eq!(found, Some(Marker::Broken("no module for 15-amd64".into())));
    }

    #[test]
    fn incomplete_or_unknown_markers_do_not_count() {
        for text in ["@@KT:end:load:0:-@", "@@KT:end:load:x:-@@", "@@KT::@@", "@@KT:what@@"] {
            assert_eq!(all(text).next(), None, "{text}");
        }
    }

    #[test]
    fn the_system_and_the_module() {
        let text = "@@KT:ready:14.2-RELEASE:amd64:GENERIC:plain@@@@KT:module:0xffffffff82000000:3000@@";
        let found: Vec<_> = all(text).collect();
        let system = System {
            release: "14.2-RELEASE".into(),
            machine: "amd64".into(),
            ident: "GENERIC".into(),
            witness: false,
        };
        let range = Range { start: 0xffff_ffff_8200_0000, end: 0xffff_ffff_8200_3000 };
        assert_eq!(found, [Marker::Ready(system), Marker::Module(range)]);
        assert!(range.contains(0xffff_ffff_8200_2fff) && !range.contains(range.end));
    }
}
