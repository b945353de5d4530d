//! Amounts as people write them: money, times, ceilings that are raised.

use wf_ir::Value;
use wf_ir::node::Budget;

/// Millionths in one.
const MICROS: u64 = 1_000_000;

/// Dollars (`2`, `0.5`) as millionths.
///
/// # Errors
/// When the text is no amount.
pub fn parse_usd_micros(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no amount in US dollars, such as 2 or 0.5");
    let micros = match Value::from_number_text(text.trim()) {
        Ok(Value::Int(whole)) => u64::try_from(whole).ok().and_then(|whole| whole.checked_mul(MICROS)),
        Ok(Value::Decimal(decimal)) => u64::try_from(decimal.micros()).ok(),
        _ => None,
    };
    micros.ok_or_else(wrong)
}

/// A time (`90s`, `1h30m`, `250ms`) in milliseconds.
///
/// # Errors
/// When the text is no time.
pub fn parse_duration_ms(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no time, such as 90s, 15m or 1h30m");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = after;
    }
    Ok(total)
}

/// What `--budget-usd +2` adds to a run's ceilings. Without the sign it means the same: ceilings are only ever raised.
///
/// # Errors
/// When one of the texts is no amount.
pub fn parse_raise(usd: Option<&str>, tokens: Option<&str>, timeout: Option<&str>) -> Result<Budget, String> {
    let plain = |text: &str| text.trim().trim_start_matches('+').to_owned();
    let tokens = tokens
        .map(|text| plain(text).parse::<u64>().map_err(|_| format!("{text:?} is no number of tokens, such as +10000")));
    Ok(Budget {
        tokens: tokens.transpose()?,
        cost_usd_micros: usd.map(|text| parse_usd_micros(&plain(text))).transpose()?,
        wall_ms: timeout.map(|text| parse_duration_ms(&plain(text))).transpose()?,
        leaves: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact() {
        let micros = |text| parse_usd_micros(text).ok();
        assert_eq!(micros("2"), Some(2_000_000));
        assert_eq!(micros("0.000001"), Some(1));
        assert_eq!(micros("1e3"), Some(1_000_000_000));
        for wrong in ["", "-1", "-0.1", "two", "1e30", "NaN", "inf", "$2", "1,5"] {
            assert_eq!(micros(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn times_add_up() {
        let ms = |text| parse_duration_ms(text).ok();
        assert_eq!(ms("250ms"), Some(250));
        assert_eq!(ms("1h30m"), Some(5_400_000));
        assert_eq!(ms("1d"), Some(86_400_000));
        assert_eq!(ms("0s"), Some(0));
        for wrong in ["", "5", "s", "1 h", "1w", "-1s", "99999999999999999999s", "9999999999999999d"] {
            assert_eq!(ms(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_raise_may_have_a_sign() {
        let raise = parse_raise(Some("+2"), Some("10"), Some("+1m")).unwrap();
        assert_eq!(
            raise,
            Budget { tokens: Some(10), cost_usd_micros: Some(2_000_000), wall_ms: Some(60_000), leaves: None }
        );
        assert!(parse_raise(Some("-2"), None, None).is_err());
    }
}
