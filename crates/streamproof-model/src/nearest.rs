//! The nearest of some names to one that was mistyped.

/// The candidate that a mistyped name most likely meant; `None` where nothing is near.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer names have no neighbours worth naming, and the distance costs the product of the lengths.
    const LONGEST: usize = 64;
    let lower = name.to_lowercase();
    if lower.len() > LONGEST {
        return None;
    }
    let best = candidates
        .into_iter()
        .map(|candidate| (distance(&lower, candidate), candidate))
        .min_by_key(|(far, _)| *far);
    best.filter(|(far, candidate)| *far <= 1 + candidate.len().min(lower.len()) / 4)
        .map(|(_, candidate)| candidate)
}

/// Edits of one character, and swaps of two neighbours, that lead from one text to the other (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut least = (rows[i][j] + usize::from(x != y)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_find_their_field() {
        let fields = ["max_msgs", "max_bytes", "max_age", "subjects", "name"];
        for (typo, meant) in [
            ("max_mgs", Some("max_msgs")),
            ("MaxAge", Some("max_age")),
            ("subject", Some("subjects")),
            ("nmae", Some("name")),
            ("colour", None),
        ] {
            assert_eq!(nearest(typo, fields), meant, "{typo}");
        }
    }
}
