//! What `wirelane top` draws. Columns and rows that do not fit are left out, the least important first.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Row, Table};

use super::rates::{DropRates, LaneRates, Rates, ThreadRates};

/// Blanks between columns.
const SPACING: u16 = 2;

/// A column of a table of `T`; numbers stand right in it, words left.
struct Column<T> {
    heading: &'static str,
    width: u16,
    is_number: bool,
    text: fn(&T) -> String,
}

const fn number<T>(heading: &'static str, width: u16, text: fn(&T) -> String) -> Column<T> {
    Column { heading, width, is_number: true, text }
}

const fn word<T>(heading: &'static str, width: u16, text: fn(&T) -> String) -> Column<T> {
    Column { heading, width, is_number: false, text }
}

/// Most important first: a narrow terminal shows as many as it has room for.
const LANE_COLUMNS: &[Column<LaneRates>] = &[
    word("lane", 15, |lane| lane.name.clone()),
    number("tx Mb/s", 8, |lane| rate(lane.tx.bits_per_s / 1e6)),
    number("rx Mb/s", 8, |lane| rate(lane.rx.bits_per_s / 1e6)),
    number("CPU %", 6, |lane| rate(lane.cpu_percent)),
    number("drops/s", 7, |lane| rate(lane.drops_per_s)),
    number("tx kpps", 8, |lane| rate(lane.tx.packets_per_s / 1e3)),
    number("rx kpps", 8, |lane| rate(lane.rx.packets_per_s / 1e3)),
    number("waiting", 7, |lane| lane.waiting.to_string()),
    number("tx batch", 8, |lane| rate(lane.tx.batch_packets)),
    number("rx batch", 8, |lane| rate(lane.rx.batch_packets)),
    number("handshakes", 10, |lane| lane.handshakes.to_string()),
    word("mode, AEAD", 20, |lane| format!("{} {}", lane.mode, lane.aead)),
];

const THREAD_COLUMNS: &[Column<ThreadRates>] = &[
    word("thread", 24, |thread| thread.name.clone()),
    number("CPU %", 6, |thread| rate(thread.cpu_percent)),
    number("kpps", 8, |thread| rate(thread.packets_per_s / 1e3)),
    number("batch", 8, |thread| rate(thread.batch_packets)),
    word("stage", 8, |thread| thread.stage.clone()),
];

const DROP_COLUMNS: &[Column<DropRates>] = &[
    word("dropped because", 24, |drops| drops.reason.clone()),
    number("per s", 8, |drops| rate(drops.per_s)),
    number("total", 12, |drops| drops.total.to_string()),
];

/// Draws one screen.
pub fn draw(frame: &mut Frame<'_>, rates: &Rates, title: &str) {
    // The threads get the room that is left.
    let [head, lanes, drops, threads, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(height(rates.lanes.len() + 1)),
        Constraint::Length(if rates.drops.is_empty() { 0 } else { height(rates.drops.len()) }),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let lanes_and_sum: Vec<_> = rates.lanes.iter().chain([&rates.total]).collect();
    frame.render_widget(Line::from(vec!["wirelane ".bold(), title.into()]), head);
    frame.render_widget(table(LANE_COLUMNS, &lanes_and_sum, lanes.width), lanes);
    frame.render_widget(table(DROP_COLUMNS, &rates.drops.iter().collect::<Vec<_>>(), drops.width), drops);
    frame.render_widget(table(THREAD_COLUMNS, &rates.threads.iter().collect::<Vec<_>>(), threads.width), threads);
    frame.render_widget(Line::from("q quit").dim(), foot);
}

/// Heading, rows and an empty line.
fn height(rows: usize) -> u16 {
    u16::try_from(rows + 2).unwrap_or(u16::MAX)
}

fn table<T>(columns: &'static [Column<T>], rows: &[&T], width: u16) -> Table<'static> {
    let ends = columns.iter().scan(0, |end, column| {
        *end += column.width + SPACING;
        Some(*end - SPACING)
    });
    // The first column is always there: a terminal narrower than that shows a part of it.
    let count = ends.take_while(|end| *end <= width).count().max(1);
    let columns = &columns[..count];
    let cell = |column: &Column<T>, text: String| {
        let line = Line::from(text);
        if column.is_number { line.right_aligned() } else { line }
    };
    let heading = Row::new(columns.iter().map(|column| cell(column, column.heading.to_owned())));
    let body = rows.iter().map(|row| Row::new(columns.iter().map(|column| cell(column, (column.text)(row)))));
    Table::new(body, columns.iter().map(|column| Constraint::Length(column.width)))
        .header(heading.style(Style::new().bold()))
        .column_spacing(SPACING)
}

/// Three significant digits or more, never an exponent.
fn rate(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::rates::tests::example;
    use super::*;

    fn screen(width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &example(), "/run/x.sock")).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect()
    }

    #[test]
    fn a_wide_terminal_shows_everything() {
        let lines = screen(150, 24);
        assert_eq!(lines[0], "wirelane /run/x.sock");
        assert!(lines[1].starts_with("lane") && lines[1].ends_with("mode, AEAD"), "{lines:?}");
        assert!(lines[3].starts_with("wl1") && lines[3].contains("15.0") && lines[3].ends_with("inline ifma"));
        assert!(lines[4].starts_with("all") && lines[4].contains("20.0"), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("no_route") && line.ends_with("24")), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("tx:wl1") && line.ends_with("tx")), "{lines:?}");
        assert_eq!(lines[23], "q quit");
    }

    #[test]
    fn a_narrow_terminal_shows_whole_columns_only() {
        let lines = screen(36, 12);
        assert!(lines[1].ends_with("rx Mb/s"), "{lines:?}");
        assert_eq!(lines[3].split_whitespace().collect::<Vec<_>>(), ["wl1", "15.0", "0"]);
        screen(3, 2);
        screen(1, 1);
    }

    #[test]
    fn rates_keep_three_digits() {
        let texts: Vec<_> = [0.0, 0.126, 9.996, 99.96, 12345.6].into_iter().map(rate).collect();
        assert_eq!(texts, ["0", "0.13", "10.0", "100", "12346"]);
    }
}
