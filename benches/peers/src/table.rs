//! Prints the tables: ratios, a line as soon as its row is done, and at the end times.

use crate::contender::Contender;
use crate::contenders::Strait;
use crate::measure::{Series, Summary};

const RATIO: usize = 22;
const TIME: usize = 16;

pub struct Table {
    rivals: Vec<&'static str>,
    first: usize,
    rows: Vec<(String, Vec<Series>)>,
}

impl Table {
    /// Prints the head. `rows` are the names of the rows to come, `contenders` all that take part in any of them.
    pub fn begin<'a>(rows: impl Iterator<Item = &'a str>, contenders: &[&'static str]) -> Self {
        let rivals: Vec<_> =
            contenders.iter().copied().filter(|name| *name != Strait::NAME).collect();
        let first = rows.map(str::len).max().unwrap_or(0);
        let table = Self { rivals, first, rows: Vec::new() };
        let heads: Vec<_> = table.rivals.iter().map(|rival| format!("vs {rival}")).collect();
        let title = format!("{}, times as fast", Strait::NAME);
        table.head(&title, heads.iter().map(String::as_str), RATIO);
        table
    }

    pub fn row(&mut self, name: &str, all: Vec<Series>) {
        print!("| {name:first$} |", first = self.first);
        let strait = find(&all, Strait::NAME);
        for rival in &self.rivals {
            let cell = strait
                .zip(find(&all, rival))
                .and_then(|(strait, rival)| rival.over(strait))
                .map_or(String::new(), ratio);
            print!(" {cell:>RATIO$} |");
        }
        println!();
        self.rows.push((name.to_owned(), all));
    }

    /// Prints the second table.
    pub fn times(&self) {
        let contenders = || [Strait::NAME].into_iter().chain(self.rivals.iter().copied());
        println!();
        self.head("time per message", contenders(), TIME);
        for (name, all) in &self.rows {
            print!("| {name:first$} |", first = self.first);
            for contender in contenders() {
                let cell =
                    find(all, contender).and_then(Series::summary).map_or(String::new(), time);
                print!(" {cell:>TIME$} |");
            }
            println!();
        }
    }

    fn head<'a>(&self, title: &str, columns: impl Iterator<Item = &'a str>, width: usize) {
        let first = self.first;
        let mut line = format!("|-{:-<first$}-|", "");
        print!("| {title:first$} |");
        for column in columns {
            print!(" {column:>width$} |");
            line += &format!("-{:->width$}:|", "");
        }
        println!("\n{line}");
    }
}

fn find<'a>(all: &'a [Series], contender: &str) -> Option<&'a Series> {
    all.iter().find(|series| series.contender == contender)
}

fn ratio(Summary { low, median, high }: Summary) -> String {
    // Three digits that count, whether strait is a hundred times as fast or as slow.
    let digits = (2.0 - median.log10().floor()).clamp(0.0, 4.0) as usize;
    format!("{median:.digits$}x ({low:.digits$}-{high:.digits$})")
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
