use std::fmt;

/// The codes of ISO 4217 (list one, 2026-01-01, without XTS and XXX, which are no money), and those that
/// were withdrawn since 2015, which records from then have. Each is followed by a space.
const CODES: &str = "\
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV \
    BRL BSD BTN BWP BYN BYR BZD CAD CDF CHE CHF CHW CLF CLP CNY COP COU CRC CUC CUP \
    CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD \
    HKD HNL HRK HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW \
    KWD KYD KZT LAK LBP LKR LRD LSL LTL LYD MAD MDL MGA MKD MMK MNT MOP MRO MRU MUR \
    MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG \
    QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SLL SOS SRD SSP STD STN SVC \
    SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED \
    VEF VES VND VUV WST XAF XAG XAU XBA XBB XBC XBD XCD XCG XDR XOF XPD XPF XPT XSU \
    XUA YER ZAR ZMW ZWG ZWL ";

fn codes() -> &'static [[u8; 4]] {
    CODES.as_bytes().as_chunks().0
}

/// A currency's code, as of ISO 4217: three letters, upper case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// A currency of ISO 4217, in either case.
    ///
    /// For events: sums are kept for each currency of a book, and any three letters would make them 17,576.
    pub fn known(code: &str) -> Option<Self> {
        let code = Self::parse(code)?;
        codes()
            .binary_search_by(|known| known[..3].cmp(&code.0))
            .is_ok()
            .then_some(code)
    }

    /// All currencies of ISO 4217, by their codes.
    pub fn all() -> impl Iterator<Item = Self> {
        codes().iter().map(|&[a, b, c, _]| Self([a, b, c]))
    }

    /// Three ASCII letters in either case. Whether such a currency exists is not asked.
    ///
    /// For sums, which may be of before the list was asked.
    pub fn parse(code: &str) -> Option<Self> {
        let mut code: [u8; 3] = code.as_bytes().try_into().ok()?;
        code.make_ascii_uppercase();
        code.iter()
            .all(u8::is_ascii_uppercase)
            .then_some(Self(code))
    }

    /// How many decimals its major unit has, so that a minor unit is one of the last: 2 for RUB, 0 for JPY, 3 for KWD
    /// (ISO 4217, list one, "minor unit"). Two for what that list does not know.
    pub const fn decimals(&self) -> u32 {
        match &self.0 {
            b"BIF" | b"CLP" | b"DJF" | b"GNF" | b"ISK" | b"JPY" | b"KMF" | b"KRW" | b"PYG"
            | b"RWF" | b"UGX" | b"UYI" | b"VND" | b"VUV" | b"XAF" | b"XOF" | b"XPF" => 0,
            b"BHD" | b"IQD" | b"JOD" | b"KWD" | b"LYD" | b"OMR" | b"TND" => 3,
            b"CLF" | b"UYW" => 4,
            _ => 2,
        }
    }

    pub fn as_str(&self) -> &str {
        // Letters are UTF-8.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_in_a_currency_that_exists() {
        for code in ["RUB", "usd", "Eur", "XCG", "BGN"] {
            assert!(Currency::known(code).is_some(), "{code}");
        }
        for code in ["AAA", "QQQ", "XXX", "XTS", "RU", "RUBL", "₽"] {
            assert_eq!(Currency::known(code), None, "{code}");
        }
        let all: Vec<_> = Currency::all().collect();
        assert!((170..200).contains(&all.len()), "{}", all.len());
        assert!(all.is_sorted_by(|a, b| a < b));
        assert_eq!(CODES.len(), all.len() * 4);
    }

    #[test]
    fn three_letters_in_either_case() {
        assert_eq!(Currency::parse("rUb").unwrap().as_str(), "RUB");
        for wrong in ["", "RU", "RUBL", "R1B", "Р", "€", "R B"] {
            assert_eq!(Currency::parse(wrong), None, "{wrong}");
        }
    }
}
