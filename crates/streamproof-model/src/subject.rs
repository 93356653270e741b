//! Subjects: which are legal, which match, which collide. Ported from nats-server `server/sublist.go`.

/// Whether a subject is legal, with wildcards or without (`IsValidSubject`).
#[must_use]
pub fn is_valid(subject: &str) -> bool {
    if subject.is_empty() {
        return false;
    }
    let mut ended = false;
    for token in subject.split('.') {
        if token.is_empty() || ended || token.contains(BLANKS) {
            return false;
        }
        ended = token == ">";
    }
    true
}

const BLANKS: [char; 5] = [' ', '\t', '\n', '\r', '\x0c'];

/// Whether a subject has no wildcard (`subjectIsLiteral`).
#[must_use]
pub fn is_literal(subject: &str) -> bool {
    !subject.split('.').any(|token| token == "*" || token == ">")
}

/// Whether some subject matches both (`SubjectsCollide`).
#[must_use]
pub fn collide(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (None, _) | (_, None) => return false,
            (Some(x), Some(y)) if x == y || x == "*" || y == "*" => {}
            (Some(_), Some(_)) => return false,
        }
    }
}

/// Whether everything that `subject` matches is matched by `test`, too (`subjectIsSubsetMatch`).
#[must_use]
pub fn is_subset(subject: &str, test: &str) -> bool {
    let (mut subject, mut test) = (subject.split('.'), test.split('.'));
    loop {
        match (subject.next(), test.next()) {
            (None, None) => return true,
            (Some(_), Some(">")) => return true,
            (None, _) | (_, None) | (Some(">"), _) => return false,
            (Some(_), Some("*")) => {}
            (Some(x), Some(y)) if x == y => {}
            (Some(_), Some(_)) => return false,
        }
    }
}

/// Whether a name is one for a stream or a consumer (`isValidAssetName`): `\` and `/` are refused from 2.12.8 on, and by the file
/// system that the stream lies on before.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(BLANKS) && !name.contains(['.', '*', '>', '\\', '/'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_collide_and_contain_each_other_as_in_the_server() {
        for (a, b, collides, contained) in [
            ("a.b", "a.b", true, true),
            ("a.b", "a.*", true, true),
            ("a.*", "a.b", true, false),
            ("a.>", "a.b.c", true, false),
            ("a.b.c", "a.>", true, true),
            ("a", "a.>", false, false),
            ("*.b", "a.*", true, false),
            (">", "a", true, false),
            ("a.*", "b.*", false, false),
            ("a.*", "a.>", true, true),
            ("a.>", "a.*", true, false),
            ("*", "*", true, true),
            ("a.b", "a", false, false),
        ] {
            assert_eq!(collide(a, b), collides, "{a} {b}");
            assert_eq!(is_subset(a, b), contained, "{a} {b}");
        }
    }

    #[test]
    fn legal_subjects() {
        for subject in ["a", "a.b", "a.*.c", "a.>", ">", "*", "a.b*c", "$KV.x.>"] {
            assert!(is_valid(subject), "{subject}");
        }
        for subject in ["", ".", "a.", ".a", "a..b", "a.>.b", "a b", "a.\t"] {
            assert!(!is_valid(subject), "{subject}");
        }
        assert!(is_literal("a.b*c") && !is_literal("a.*"));
    }
}
