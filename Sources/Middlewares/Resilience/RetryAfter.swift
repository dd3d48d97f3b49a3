internal import Pipeline

/// How long an upstream asks to be left alone (RFC 9110, 10.2.3): seconds, or a date.
enum RetryAfter {
  /// `nil` without a field that can be read. A date is compared with the upstream's own `date`, where there is one, so that no
  /// two clocks have to agree; a date that is past means 0.
  static func read(_ head: HTTPResponseHead, clock: WallClock) -> Duration? {
    head.fields.withValue(of: "retry-after") { value -> Duration? in
      guard let value, value.count > 0 else { return nil }
      if let seconds = seconds(value) { return .seconds(seconds) }
      let now = clock.now.seconds
      guard let then = HTTPDate.parse(value, now: now) else { return nil }
      let sent = head.fields.withValue(of: "date") { date in
        guard let date else { return nil as Int64? }
        return HTTPDate.parse(date, now: now)
      }
      return .seconds(max(0, then - (sent ?? now)))
    }
  }

  private static func seconds(_ value: borrowing Span<UInt8>) -> Int64? {
    guard value.count <= 18 else { return nil }
    var number: Int64 = 0
    for index in 0..<value.count {
      guard case 48...57 = value[index] else { return nil }
      number = number * 10 + Int64(value[index] - 48)
    }
    return number
  }
}
