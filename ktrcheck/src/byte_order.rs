//! Detection of traces from a machine of another byte order.

use ktrace_format::HEADER_LEN;

use crate::head::Head;

/// End offset of each field of `struct ktr_header`, and whether the field is a number.
///
/// `struct ktr_header_v0` has the same fields up to `ktr_tid`.
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

/// Returns whether `bytes` become a valid header once the bytes of each number are reversed.
///
/// Returns `false` if they are a valid header as they stand.
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
