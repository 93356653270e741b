//! What each setting of durability costs and loses, as it was measured once: quoted where a loss is reported.
//!
//! The figures are those of `docs/price-list.md`, with the command that makes them anew on another machine.

/// One line of the price list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceLine {
    /// The setting.
    pub setting: &'static str,
    /// Acked messages a second, 500 in flight.
    pub msgs_per_s: u32,
    /// Acked messages a second, one at a time.
    pub alone_msgs_per_s: u32,
    /// What the worst crash state lost, of the messages acked in a recorded run.
    pub loses: &'static str,
}

/// The list, from the cheapest on.
pub const PRICES: &[PriceLine] = &[
    PriceLine {
        setting: "default, persist_mode: async",
        msgs_per_s: 317108,
        alone_msgs_per_s: 8984,
        loses: "5,000 of 5,100, up to 10.0 s old",
    },
    PriceLine {
        setting: "default (sync_interval: 2m)",
        msgs_per_s: 235408,
        alone_msgs_per_s: 9882,
        loses: "5,000 of 5,100, up to 10.0 s old",
    },
    PriceLine {
        setting: "sync_interval: 10s",
        msgs_per_s: 222731,
        alone_msgs_per_s: 9168,
        loses: "5,000 of 9,120, up to 10.0 s old",
    },
    PriceLine {
        setting: "sync_interval: 1s",
        msgs_per_s: 237219,
        alone_msgs_per_s: 10004,
        loses: "500 of 2,855, up to 991.0 ms old",
    },
    PriceLine {
        setting: "sync_interval: 100ms",
        msgs_per_s: 234138,
        alone_msgs_per_s: 10505,
        loses: "55 of 1,595, up to 100.0 ms old",
    },
    PriceLine {
        setting: "sync_interval: always",
        msgs_per_s: 7187,
        alone_msgs_per_s: 3235,
        loses: "none in 70 states",
    },
];

/// What a remedy costs, where it is one of the list: the line of the default and its own.
#[must_use]
pub fn beside(remedy: &str) -> Option<String> {
    let of = |wanted: fn(&PriceLine, &str) -> bool| PRICES.iter().find(|line| wanted(line, remedy));
    let now = of(|line, _| line.setting.starts_with("default (")).map(said)?;
    let then = of(|line, remedy| remedy.contains(&format!("`{}`", line.setting))).map(said)?;
    Some(format!("{now}; {then} (measured once, docs/price-list.md; here: cargo xtask bench --durability)"))
}

fn said(line: &PriceLine) -> String {
    let PriceLine { setting, msgs_per_s, alone_msgs_per_s, loses } = line;
    format!("{setting}: {msgs_per_s} msgs/s, {alone_msgs_per_s} one at a time, a host crash took {loses}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A whole number with its thousands apart.
    fn grouped(number: u32) -> String {
        if number < 1000 { number.to_string() } else { format!("{},{:03}", number / 1000, number % 1000) }
    }

    #[test]
    fn the_list_is_that_of_the_document() {
        let document = include_str!("../../../docs/price-list.md");
        for line in PRICES {
            let row = document.lines().find(|row| row.starts_with(&format!("| {} |", line.setting)));
            let row = row.unwrap_or_else(|| panic!("{} has no row", line.setting));
            for cell in [grouped(line.msgs_per_s), grouped(line.alone_msgs_per_s), line.loses.to_owned()] {
                assert!(row.contains(&format!("| {cell} |")), "{cell} is not in: {row}");
            }
        }
    }

    #[test]
    fn a_remedy_is_priced_where_it_is_in_the_list() {
        let price = beside("`sync_interval: always` in jetstream.conf: a sync for every write").unwrap();
        assert!(
            price.starts_with("default (sync_interval: 2m): ") && price.contains("; sync_interval: always: ")
        );
        assert_eq!(beside("`storage: file`"), None);
    }
}
