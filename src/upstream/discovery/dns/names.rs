//! Which names are asked for in turn: the one that is written, and it in each search domain.

/// The names with a dot at their end, in the order of resolv.conf(5): a name with at least `ndots`
/// dots is tried as it is first, else last; one that ends with a dot is tried alone.
pub(super) fn names(host: &str, search: &[String], ndots: usize) -> Vec<String> {
    if host.ends_with('.') {
        return vec![host.to_owned()];
    }
    let mut names: Vec<String> = Vec::with_capacity(search.len() + 1);
    let whole = format!("{host}.");
    let dots = host.bytes().filter(|byte| *byte == b'.').count();
    let domains = search.iter().map(|domain| domain.trim_matches('.'));
    let searched = domains.filter(|domain| !domain.is_empty());
    let searched = searched.map(|domain| format!("{host}.{domain}."));
    if dots >= ndots {
        names.push(whole);
        names.extend(searched);
    } else {
        names.extend(searched);
        names.push(whole);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::names;

    fn asked(host: &str, ndots: usize) -> Vec<String> {
        names(host, &["shop.svc.cluster.local".to_owned(), "example.com.".to_owned()], ndots)
    }

    #[test]
    fn search_domains_apply_as_resolv_conf_says() {
        let short = ["db.shop.svc.cluster.local.", "db.example.com.", "db."];
        assert_eq!(asked("db", 1), short);
        let long = ["db.prod.", "db.prod.shop.svc.cluster.local.", "db.prod.example.com."];
        assert_eq!(asked("db.prod", 1), long);
        let within = ["db.prod.shop.svc.cluster.local.", "db.prod.example.com.", "db.prod."];
        assert_eq!(asked("db.prod", 5), within);
        assert_eq!(asked("db.prod.", 5), ["db.prod."]);
        assert_eq!(names("db", &[], 1), ["db."]);
    }
}
