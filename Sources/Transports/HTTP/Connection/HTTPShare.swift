internal import Pipeline

/// What the HTTP connections of one loop share: used on the loop's thread alone, and only between two suspensions.
final class HTTPShare {
  // The loop owns it.
  unowned(unsafe) let loop: Loop
  var ids = ExchangeIDs()
  /// Connections to upstreams that wait for the next request.
  let pool: UpstreamPool
  /// The head under construction; its capacity is kept.
  var head = ByteBuilder(capacity: 16 * 1024)
  /// Field lines of our own that go into it.
  var lines = ByteBuilder(capacity: 1024)
  private var date: [UInt8] = []
  private var dateHolds = Instant(nanoseconds: 0)
  /// Lines of the operational log about clients that speak no HTTP, for each loop: whoever sends garbage must not be able to
  /// fill the disk with it.
  private var complaints = LineQuota(10, every: .seconds(1))
  /// Long uploads are nothing unusual: it is enough to be told now and then that they are not repeated.
  private var lostReplays = LineQuota(1, every: .seconds(10))

  init(_ loop: Loop) {
    self.loop = loop
    pool = UpstreamPool(loop)
  }

  /// Appends `date: …` (RFC 9110, 6.6.1), right to the second, to `lines`.
  func appendDateLine() {
    if loop.now >= dateHolds { renewDate() }
    lines.append(contentsOf: date)
  }

  private func renewDate() {
    let time = UnixTime.systemTime
    date.removeAll(keepingCapacity: true)
    date.append("date: ")
    HTTPDate.append(time.seconds, to: &date)
    date.append("\r\n")
    dateHolds = loop.now + .nanoseconds(1_000_000_000 - Int64(time.nanoseconds))
  }

  /// Says in the operational log why a client was sent away before any chain heard of it.
  func complain(_ connection: Connection, _ exchange: Exchange, _ rejection: Rejection) {
    guard let unsaid = complaints.next(loop.now) else { return }
    let (name, client) = (exchange.listener.name, exchange.client)
    connection.log(.notice, "\(name): \(client): \(rejection)\(Self.unsaid(unsaid))")
  }

  /// Says that a request goes on which is too long to be sent a second time.
  func tellOfLostReplay(_ connection: Connection, _ exchange: Exchange) {
    guard let unsaid = lostReplays.next(loop.now) else { return }
    let (name, id) = (exchange.listener.name, exchange.id)
    connection.log(
      .notice,
      "\(name): exchange \(id): the request's body is longer than what is kept of it: it goes on, and is not tried again"
        + Self.unsaid(unsaid))
  }

  private static func unsaid(_ count: Int) -> String {
    count > 0 ? " (\(count) more like this were not written)" : ""
  }
}

/// How many lines of one kind are written in a while. Pure.
struct LineQuota {
  private let most: Int
  private let interval: Duration
  private var left = 0
  private var unsaid = 0
  private var renewed = Instant(nanoseconds: 0)

  init(_ most: Int, every interval: Duration) {
    self.most = most
    self.interval = interval
  }

  /// How many were not written before this one; `nil`: this one is not to be written either.
  mutating func next(_ now: Instant) -> Int? {
    if now >= renewed {
      renewed = now + interval
      left = most
    }
    guard left > 0 else {
      unsaid += 1
      return nil
    }
    left -= 1
    defer { unsaid = 0 }
    return unsaid
  }
}
