//! Traces from a machine of another byte order.

use ktrace_format::HEADER_LEN;

use crate::head::Head;

/// Ends of the fields of `struct ktr_header`, and whether a field is a number. `struct ktr_header_v0` has
/// the same up to `ktr_tid`.
const FIELDS: [(usize, bool); 10] = [
    (4, true),
    (6, true),
    (8, true),
    (12, true),
    (32, false),
    (40, true),
    (48, true),
    (56, true),
    (60, true),
    (HEADER_LEN, false),
];

/// Whether the bytes are not the front of a trace, but would be one with the bytes of each number turned
/// round.
pub(crate) fn is_other(bytes: &[u8]) -> bool {
    let mut turned = Vec::with_capacity(HEADER_LEN);
    for (end, is_number) in FIELDS {
        let field = bytes.get(turned.len()..end.min(bytes.len())).unwrap_or_default();
        if is_number {
            turned.extend(field.iter().rev());
        } else {
            turned.extend(field);
        }
    }
    Head::read(bytes).is_err() && Head::read(&turned).is_ok()
}
