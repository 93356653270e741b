//! Transforms of subjects (ADR-36): which are legal. Ported from nats-server `ValidateMapping` (`server/sublist.go`) and
//! `NewSubjectTransformWithStrict` (`server/subject_transform.go`).

use crate::version::{Release, Version};

/// `random` and partitions of whole subjects came with 2.12.
const WIDER: Release = Release(2, 12, 0);
/// `ValidateMapping` came with 2.11; before, a transform is only tried.
const CHECKED: Release = Release(2, 11, 0);
/// `left` and `right` were always carried out, and let through by `ValidateMapping` from 2.15 on.
const SIDES: Release = Release(2, 15, 0);

/// Why a server refuses to transform `src` to `dest`; `None` where it does not. An empty `src` is everything, an empty `dest` is
/// no transform.
#[must_use]
pub fn refusal(src: &str, dest: &str, version: &Version) -> Option<String> {
    if dest.is_empty() {
        return None;
    }
    let src = if src.is_empty() { ">" } else { src };
    let Some(from) = Tokens::of(src) else { return Some(format!("{src:?} is not a subject")) };
    let Some(to) = Tokens::of(dest) else {
        return Some(format!("{dest:?} is not a subject"));
    };
    if to.stars > 0 {
        return Some("a destination has no *: {{wildcard(1)}} stands for the first of the source".to_owned());
    }
    if from.rest != to.rest {
        return Some("either both ends have a > or neither".to_owned());
    }
    for token in dest.split('.') {
        if let Err(why) = token_refusal(token, &from, version) {
            return Some(format!("{token:?}: {why}"));
        }
    }
    None
}

/// What `subjectInfo` says of a subject.
struct Tokens {
    stars: i64,
    rest: bool,
}

impl Tokens {
    fn of(subject: &str) -> Option<Tokens> {
        let mut tokens = Tokens { stars: 0, rest: false };
        for token in subject.split('.') {
            if token.is_empty() || tokens.rest {
                return None;
            }
            tokens.stars += i64::from(token == "*");
            tokens.rest = token == ">";
        }
        Some(tokens)
    }
}

/// A token of a destination.
enum Part {
    /// Itself.
    Plain,
    /// Made of these wildcards of the source.
    Of(Vec<i64>),
    /// Made of nothing, or of the whole subject.
    Free,
}

fn token_refusal(token: &str, from: &Tokens, version: &Version) -> Result<(), String> {
    match part(token, version)? {
        Part::Plain => Ok(()),
        Part::Free if version.has(WIDER) => Ok(()),
        // Before 2.12 a source with nothing but > takes no function either.
        Part::Of(_) if from.stars == 0 => Err("the source has no * for it".to_owned()),
        Part::Of(indexes) => match indexes.iter().find(|index| **index > from.stars) {
            Some(index) => Err(format!("the source has no * number {index}")),
            None => Ok(()),
        },
        Part::Free => Err(format!("since nats-server {WIDER}")),
    }
}

fn part(token: &str, version: &Version) -> Result<Part, String> {
    if let Some(index) = token.strip_prefix('$').and_then(|digits| digits.parse().ok()) {
        return Ok(Part::Of(vec![index]));
    }
    let inner = token.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    let Some(inner) = inner.filter(|inner| !inner.is_empty()) else {
        return if version.has(CHECKED) && token.contains(BLANKS) {
            Err("a blank in a subject".to_owned())
        } else {
            Ok(Part::Plain)
        };
    };
    let unknown = || {
        "no such function: wildcard, partition, split, splitFromLeft, splitFromRight, sliceFromLeft, sliceFromRight, random".to_owned()
    };
    let call = inner.trim_matches(BLANKS);
    let (name, rest) = call.split_once('(').ok_or_else(unknown)?;
    let args = rest.strip_suffix(')').ok_or_else(unknown)?;
    let args: Vec<&str> = args.split(',').map(|arg| arg.trim_start_matches(BLANKS)).collect();
    let number =
        |arg: &str| arg.trim_matches(' ').parse::<i64>().map_err(|_| format!("{arg:?} is no number"));
    let small = |arg: &str| match number(arg)? {
        count if count <= i64::from(i32::MAX) => Ok(count),
        count => Err(format!("{count} is too large")),
    };
    let two = |args: &[&str]| match args {
        [_, _] => Ok(()),
        _ => Err("it takes two arguments".to_owned()),
    };
    let name = name.trim_end_matches(BLANKS);
    match spelled(name).ok_or_else(unknown)? {
        "wildcard" => match args.as_slice() {
            [""] => Err("it takes the number of a *".to_owned()),
            [index] => Ok(Part::Of(vec![number(index)?])),
            _ => Err("it takes one argument".to_owned()),
        },
        "partition" => match args.as_slice() {
            [count] => small(count).map(|_| Part::Free),
            [count, indexes @ ..] => {
                small(count)?;
                Ok(Part::Of(indexes.iter().map(|index| number(index)).collect::<Result<_, _>>()?))
            }
            [] => Err(unknown()),
        },
        "random" if !version.has(WIDER) => Err(format!("since nats-server {WIDER}")),
        "random" => match args.as_slice() {
            [most] => small(most).map(|_| Part::Free),
            _ => Err("it takes one argument".to_owned()),
        },
        "split" => {
            two(&args)?;
            if args[1].contains(' ') {
                return Err("the separator has a blank".to_owned());
            }
            Ok(Part::Of(vec![number(args[0])?]))
        }
        name => {
            let side = matches!(name, "left" | "right");
            if side && version.has(CHECKED) && !version.has(SIDES) {
                return Err(format!("nats-server refuses it from {CHECKED} until {SIDES}"));
            }
            two(&args)?;
            small(args[1])?;
            Ok(Part::Of(vec![number(args[0])?]))
        }
    }
}

const BLANKS: [char; 5] = [' ', '\t', '\n', '\r', '\x0c'];

/// The functions, each with the letters that may be capitals.
const FUNCTIONS: [(&str, &[usize]); 10] = [
    ("wildcard", &[0]),
    ("partition", &[0]),
    ("splitfromleft", &[0, 5, 9]),
    ("splitfromright", &[0, 5, 9]),
    ("slicefromleft", &[0, 5, 9]),
    ("slicefromright", &[0, 5, 9]),
    ("split", &[0]),
    ("left", &[0]),
    ("right", &[0]),
    ("random", &[0]),
];

fn spelled(name: &str) -> Option<&'static str> {
    let fits = |function: &str, capitals: &[usize]| {
        name.len() == function.len()
            && name.bytes().zip(function.bytes()).enumerate().all(|(at, (given, wanted))| {
                given == wanted || (capitals.contains(&at) && given.to_ascii_lowercase() == wanted)
            })
    };
    FUNCTIONS.iter().find(|(function, capitals)| fits(function, capitals)).map(|(function, _)| *function)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transforms_are_legal_as_in_the_server() {
        let newest = Version::new(2, 15, 1);
        for (src, dest) in [
            ("a.*", "b.{{wildcard(1)}}"),
            ("a.*.*", "b.$2.$1"),
            ("a.>", "b.>"),
            ("", "b.>"),
            ("a", "b"),
            ("a.*", "b.{{ SplitFromLeft( 1 , 2 ) }}"),
            ("a", "b.{{partition(5)}}"),
            ("a.*", "b.{{left(1,2)}}"),
            ("a.*", ""),
            ("a.*", "b.$KV"),
        ] {
            assert_eq!(refusal(src, dest, &newest), None, "{src} {dest}");
        }
        for (src, dest) in [
            ("a.*", "b.*"),
            ("a.>", "b"),
            ("a.*", "b.{{wildcard(2)}}"),
            ("a.*", "b.{{wildcarD(1)}}"),
            ("a", "b.{{wildcard(1)}}"),
            ("a..b", "c"),
            ("a", "b..c"),
            ("a.*", "b.{{split(1)}}"),
            ("a", "b c"),
            ("a.*", "b.{{}}x{{}}"),
        ] {
            assert!(refusal(src, dest, &newest).is_some(), "{src} {dest}");
        }
        assert!(refusal("a.*", "b.{{left(1,2)}}", &Version::new(2, 14, 6)).is_some());
        assert!(refusal("a", "b.{{random(5)}}", &Version::new(2, 11, 2)).is_some());
    }
}
