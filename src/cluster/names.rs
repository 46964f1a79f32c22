//! What names may be in a cluster.

/// The longest label of a name (RFC 1123, of which names in a cluster are).
const LABEL_BYTES_MAX: usize = 63;
/// The longest name.
const NAME_BYTES_MAX: usize = 253;

/// Whether it is a label, as namespaces and Services have for a name.
pub fn is_label(name: &str) -> bool {
    name.len() <= LABEL_BYTES_MAX && is_part(name)
}

/// Whether it is a subdomain, as most other objects have for a name: parts between dots.
pub fn is_subdomain(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && name.split('.').all(is_part)
}

/// Small letters, digits and hyphens, the first and the last no hyphen.
fn is_part(part: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !part.is_empty() && part.bytes().all(known) && !part.starts_with('-') && !part.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::{is_label, is_subdomain};

    #[test]
    fn names_are_as_long_and_of_such_letters_as_the_api_has_them() {
        assert!(is_label("shop-2") && !is_label("shop.2") && is_subdomain("shop.2"));
        for wrong in ["", "-a", "a-", "Shop", "a_b", "ü", "a..b", "."] {
            assert!(!is_label(wrong) && !is_subdomain(wrong), "{wrong}");
        }
        assert!(is_label(&"a".repeat(63)) && !is_label(&"a".repeat(64)));
        assert!(is_subdomain(&"a".repeat(253)) && !is_subdomain(&"a".repeat(254)));
    }
}
