//! Concrete subjects out of the patterns that a stream or a consumer names.

use crate::seed::Seed;

/// Concrete subjects that match `patterns`, a few for each pattern: `*` becomes one token, `>` one or two.
///
/// Deterministic by seed. Every subject is distinct and matches at least one pattern.
#[must_use]
pub fn concrete(patterns: &[String], each: usize, seed: &mut Seed) -> Vec<String> {
    let mut subjects: Vec<String> = Vec::new();
    for pattern in patterns {
        let wild = pattern.split('.').any(|token| token == "*" || token == ">");
        let wanted = if wild { each.max(1) } else { 1 };
        for number in 0..wanted {
            let subject = fill(pattern, number, seed);
            if !subjects.contains(&subject) {
                subjects.push(subject);
            }
        }
    }
    subjects
}

/// Whether a concrete subject matches a pattern, by the server's rules (`*` is one token, a final `>` one or more).
#[must_use]
pub fn matches(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for part in pattern.split('.') {
        match (part, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (_, Some(token)) if token == part => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

fn fill(pattern: &str, number: usize, seed: &mut Seed) -> String {
    const WORDS: [&str; 6] = ["alpha", "beta", "gamma", "delta", "omega", "kappa"];
    let mut tokens: Vec<String> = Vec::new();
    for part in pattern.split('.') {
        match part {
            "*" => tokens.push(format!("{}{number}", WORDS[number % WORDS.len()])),
            ">" => {
                tokens.push(format!("{}{number}", WORDS[number % WORDS.len()]));
                if seed.chance(50) {
                    tokens.push("x".to_owned());
                }
            }
            literal => tokens.push(literal.to_owned()),
        }
    }
    tokens.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_match_their_patterns_and_are_distinct() {
        let patterns = ["orders.*.new".to_owned(), "audit.>".to_owned(), "plain".to_owned()];
        let subjects = concrete(&patterns, 5, &mut Seed::new(3));
        assert_eq!(subjects.len(), 11, "{subjects:?}");
        for subject in &subjects {
            assert!(patterns.iter().any(|pattern| matches(pattern, subject)), "{subject}");
        }
    }

    #[test]
    fn matching_follows_the_server() {
        assert!(matches("a.*", "a.b"));
        assert!(!matches("a.*", "a"));
        assert!(!matches("a.*", "a.b.c"));
        assert!(matches("a.>", "a.b.c"));
        assert!(!matches("a.>", "a"));
        assert!(matches(">", "a"));
        assert!(!matches("a.b", "a.c"));
    }
}
