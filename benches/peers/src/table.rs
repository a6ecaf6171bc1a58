//! Prints the tables: ratios, a line as soon as its row is done, and at the end times.

use crate::contender::Contender;
use crate::contenders::Strait;
use crate::measure::{Series, Summary};

const RATIO: usize = 23;
const OTHERS: usize = 10;
const TIME: usize = 17;
/// The text of an empty cell.
const ABSENT: &str = "-";

pub struct Table {
    contenders: Vec<&'static str>,
    first: usize,
    rows: Vec<(String, Vec<Series>)>,
}

impl Table {
    /// Prints the head. `rows` are the names of the rows to come, `contenders` all that take
    /// part in any of them.
    pub fn begin<'a>(rows: impl Iterator<Item = &'a str>, contenders: &[&'static str]) -> Self {
        let title = format!("{}, times as fast", Strait::NAME);
        let first = rows.map(str::len).max().unwrap_or(0).max(title.len());
        let table = Self { contenders: contenders.to_vec(), first, rows: Vec::new() };
        let mut heads: Vec<_> =
            table.rivals().map(|rival| (format!("vs {rival}"), RATIO)).collect();
        heads.push(("others had".to_owned(), OTHERS));
        table.head(&title, heads);
        table
    }

    /// `others` is the percentage of the processors that other programs had.
    pub fn row(&mut self, name: &str, all: Vec<Series>, others: Option<u64>) {
        print!("| {name:first$} |", first = self.first);
        let strait = find(&all, Strait::NAME);
        for rival in self.rivals() {
            let cell = strait
                .zip(find(&all, rival))
                .and_then(|(strait, rival)| rival.over(strait))
                .map_or(ABSENT.to_owned(), ratio);
            print!(" {cell:>RATIO$} |");
        }
        let others = others.map_or(ABSENT.to_owned(), |share| format!("{share} %"));
        println!(" {others:>OTHERS$} |");
        self.rows.push((name.to_owned(), all));
    }

    /// Prints the second table.
    pub fn times(&self) {
        println!();
        let heads = self.contenders.iter().map(|name| ((*name).to_owned(), TIME));
        self.head("time per message", heads);
        for (name, all) in &self.rows {
            print!("| {name:first$} |", first = self.first);
            for contender in &self.contenders {
                let cell =
                    find(all, contender).and_then(Series::summary).map_or(ABSENT.to_owned(), time);
                print!(" {cell:>TIME$} |");
            }
            println!();
        }
        if self.rows.iter().any(|(_, all)| all.len() < self.contenders.len()) {
            println!("\n{ABSENT}: this contender cannot do this work");
        }
    }

    fn rivals(&self) -> impl Iterator<Item = &'static str> {
        self.contenders.iter().copied().filter(|name| *name != Strait::NAME)
    }

    /// Names the columns, with their widths.
    fn head(&self, title: &str, columns: impl IntoIterator<Item = (String, usize)>) {
        let first = self.first;
        let mut line = format!("|-{:-<first$}-|", "");
        print!("| {title:first$} |");
        for (column, width) in columns {
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
    // Three significant digits, for large and small ratios.
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
