/// Times in header fields (RFC 9110, 5.6.7), in whole seconds since 1970.
package enum HTTPDate {
  private static let days: [StaticString] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
  private static let months: [StaticString] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
  ]

  /// Appends `Sun, 06 Nov 1994 08:49:37 GMT`. What four digits of a year cannot say becomes the nearest that they can.
  package static func append(_ seconds: Int64, to out: inout [UInt8]) {
    let seconds = min(max(seconds, -62_135_596_800), 253_402_300_799)
    let day = floorDivide(seconds, 86_400)
    let second = seconds - day * 86_400
    let (year, month, dayOfMonth) = civil(day)
    // 1970-01-01 was a Thursday.
    append(days[Int(((day + 4) % 7 + 7) % 7)], to: &out)
    append(", ", to: &out)
    append(dayOfMonth, digits: 2, to: &out)
    append(" ", to: &out)
    append(months[month - 1], to: &out)
    append(" ", to: &out)
    append(year, digits: 4, to: &out)
    append(" ", to: &out)
    append(second / 3600, digits: 2, to: &out)
    append(":", to: &out)
    append(second / 60 % 60, digits: 2, to: &out)
    append(":", to: &out)
    append(second % 60, digits: 2, to: &out)
    append(" GMT", to: &out)
  }

  /// The same as text.
  package static func text(_ seconds: Int64) -> String {
    var out: [UInt8] = []
    append(seconds, to: &out)
    return String(decoding: out, as: UTF8.self)
  }

  /// Reads the preferred form, and the two obsolete ones that a recipient has to accept; `nil` for anything else.
  ///
  /// - Parameter now: seconds; a two-digit year that lies more than 50 years after it is one of the century before.
  package static func parse(_ text: borrowing Span<UInt8>, now: Int64) -> Int64? {
    var at = 0
    while at < text.count, isLetter(text[at]) { at += 1 }
    guard at >= 3, at < text.count else { return nil }
    if text[at] == 32 { return asctime(text, at + 1) }
    guard skip(", ", text, &at), let day = number(2, text, &at), at < text.count else { return nil }
    let isObsolete = text[at] == UInt8(ascii: "-")
    let separator: StaticString = isObsolete ? "-" : " "
    guard skip(separator, text, &at), let month = month(text, &at), skip(separator, text, &at),
      var year = number(isObsolete ? 2 : 4, text, &at), skip(" ", text, &at), let time = time(text, &at),
      skip(" GMT", text, &at), at == text.count
    else { return nil }
    if isObsolete {
      let thisYear = civil(floorDivide(now, 86_400)).year
      year += thisYear / 100 * 100
      if year > thisYear + 50 { year -= 100 }
    }
    return seconds(year, month, day, time)
  }

  /// `Sun Nov  6 08:49:37 1994`, after the day's name.
  private static func asctime(_ text: borrowing Span<UInt8>, _ start: Int) -> Int64? {
    var at = start
    guard let month = month(text, &at), skip(" ", text, &at), at < text.count else { return nil }
    let isPadded = text[at] == 32
    if isPadded { at += 1 }
    guard let day = number(isPadded ? 1 : 2, text, &at), skip(" ", text, &at), let time = time(text, &at),
      skip(" ", text, &at), let year = number(4, text, &at), at == text.count
    else { return nil }
    return seconds(year, month, day, time)
  }

  private static func seconds(_ year: Int64, _ month: Int, _ day: Int64, _ time: Int64) -> Int64? {
    let days = daysSince1970(year, month, day)
    // A day that the month does not have would come out as one of another month.
    let (_, sameMonth, sameDay) = civil(days)
    return sameMonth == month && sameDay == day ? days * 86_400 + time : nil
  }

  // MARK: - Reading

  private static func isLetter(_ byte: UInt8) -> Bool {
    let lower = byte | 0x20
    return lower >= UInt8(ascii: "a") && lower <= UInt8(ascii: "z")
  }

  private static func skip(_ literal: StaticString, _ text: borrowing Span<UInt8>, _ at: inout Int) -> Bool {
    let start = at
    guard start + literal.utf8CodeUnitCount <= text.count else { return false }
    let isThere = literal.withUTF8Buffer { expected in
      for i in 0..<expected.count where expected[i] != text[start + i] { return false }
      return true
    }
    if isThere { at += literal.utf8CodeUnitCount }
    return isThere
  }

  private static func number(_ digits: Int, _ text: borrowing Span<UInt8>, _ at: inout Int) -> Int64? {
    guard at + digits <= text.count else { return nil }
    var value: Int64 = 0
    for i in at..<at + digits {
      guard text[i] >= 48, text[i] <= 57 else { return nil }
      value = value * 10 + Int64(text[i] - 48)
    }
    at += digits
    return value
  }

  private static func month(_ text: borrowing Span<UInt8>, _ at: inout Int) -> Int? {
    for (i, name) in months.enumerated() where skip(name, text, &at) { return i + 1 }
    return nil
  }

  /// Seconds of the day. A leap second counts as the one before it.
  private static func time(_ text: borrowing Span<UInt8>, _ at: inout Int) -> Int64? {
    guard let hour = number(2, text, &at), hour < 24, skip(":", text, &at), let minute = number(2, text, &at),
      minute < 60, skip(":", text, &at), let second = number(2, text, &at), second <= 60
    else { return nil }
    return hour * 3600 + minute * 60 + min(second, 59)
  }

  // MARK: - Writing

  private static func append(_ literal: StaticString, to out: inout [UInt8]) {
    literal.withUTF8Buffer { out.append(contentsOf: $0) }
  }

  private static func append(_ value: Int64, digits: Int, to out: inout [UInt8]) {
    if digits > 1 { append(value / 10, digits: digits - 1, to: &out) }
    out.append(UInt8(48 + value % 10))
  }

  // MARK: - The calendar
  // Days are counted in eras of 400 years that begin on a 1 March, so that a leap day ends its year.

  private static func civil(_ days: Int64) -> (year: Int64, month: Int, day: Int64) {
    let shifted = days + 719_468
    let era = floorDivide(shifted, 146_097)
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthFromMarch = (5 * dayOfYear + 2) / 153
    let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
    let day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), Int(month), day)
  }

  private static func daysSince1970(_ year: Int64, _ month: Int, _ day: Int64) -> Int64 {
    let year = month <= 2 ? year - 1 : year
    let era = floorDivide(year, 400)
    let yearOfEra = year - era * 400
    let monthFromMarch = Int64(month > 2 ? month - 3 : month + 9)
    let dayOfYear = (153 * monthFromMarch + 2) / 5 + day - 1
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
  }

  private static func floorDivide(_ a: Int64, _ b: Int64) -> Int64 { a >= 0 ? a / b : (a - b + 1) / b }
}
