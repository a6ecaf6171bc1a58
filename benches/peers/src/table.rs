//! Prints the table, a line as soon as its row is done.

use crate::contender::Contender;
use crate::contenders::Strait;
use crate::measure::{Series, Summary};

pub struct Table {
    rivals: Vec<&'static str>,
    first: usize,
}

impl Table {
    /// Prints the head. `rows` are the names of the rows to come, `contenders` all that take part in any of them.
    pub fn begin<'a>(rows: impl Iterator<Item = &'a str>, contenders: &[&'static str]) -> Self {
        let rivals: Vec<_> =
            contenders.iter().copied().filter(|name| *name != Strait::NAME).collect();
        let first = rows.map(str::len).max().unwrap_or(0);
        print!("| {:first$} |", "row");
        for rival in &rivals {
            print!(" {:24} |", format!("{} vs {rival}", Strait::NAME));
        }
        for name in [Strait::NAME].iter().chain(&rivals) {
            print!(" {name:>16} |");
        }
        print!("\n|-{:-<first$}-|", "");
        for _ in &rivals {
            print!("-{:-<24}-|", "");
        }
        for _ in 0..=rivals.len() {
            print!("-{:->16}:|", "");
        }
        println!();
        Self { rivals, first }
    }

    pub fn row(&self, name: &str, all: &[Series]) {
        let find = |name: &str| all.iter().find(|series| series.contender == name);
        let strait = find(Strait::NAME);
        print!("| {name:first$} |", first = self.first);
        for rival in &self.rivals {
            let cell = strait
                .zip(find(rival))
                .and_then(|(strait, rival)| rival.over(strait))
                .map_or(String::new(), ratio);
            print!(" {cell:24} |");
        }
        for name in [Strait::NAME].iter().chain(&self.rivals) {
            let cell = find(name).and_then(Series::summary).map_or(String::new(), time);
            print!(" {cell:>16} |");
        }
        println!();
    }
}

fn ratio(Summary { low, median, high }: Summary) -> String {
    format!("{median:.3}x ({low:.3}-{high:.3})")
}

/// The median, and how far the middle half of the samples reaches around it.
fn time(Summary { low, median, high }: Summary) -> String {
    let (unit, scale) = match median {
        ..1e3 => ("ns", 1.0),
        1e3..1e6 => ("us", 1e3),
        _ => ("ms", 1e6),
    };
    let spread = (high - low) / median * 50.0;
    format!("{:.2} {unit} ±{spread:2.0}%", median / scale)
}
