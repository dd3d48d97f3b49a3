/// The client's bytes between the socket and the parser: what has arrived and is not consumed.
///
/// It is read into only while a message is incomplete, and the longest message has 513 bytes (a login), so the buffer never
/// grows: a client cannot make the handshake hold more than `capacity` bytes of it.
struct SOCKS5Inbox {
  /// The longest message and some room for what comes behind it in the same segment.
  static let capacity = 1024

  private var bytes: [UInt8] = []
  private var head = 0

  /// Lets `fill` append to the free room, which is at least one byte.
  mutating func receive<Result>(_ fill: (inout OutputRawSpan) throws -> Result) rethrows -> Result {
    if bytes.capacity == 0 { bytes.reserveCapacity(Self.capacity) }
    if head > 0 {
      bytes.removeSubrange(..<head)
      head = 0
    }
    precondition(bytes.count < Self.capacity, "a message that fills the inbox is complete")
    var result: Result?
    try bytes.append(addingCapacity: Self.capacity - bytes.count) { room in
      // Sound because the raw span covers exactly the free part of the buffer, does not outlive the closure, and `count`
      // grows by what it says was initialised.
      try room.withUnsafeMutableBufferPointer { buffer, count in
        let free = UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[count...])
        var span = OutputRawSpan(buffer: free, initializedCount: 0)
        result = try fill(&span)
        count += span.finalize(for: free)
      }
    }
    return result!
  }

  /// Parses a message from the front and consumes it.
  mutating func parse<Message>(_ parse: (Span<UInt8>) -> SOCKS5Parsed<Message>) -> SOCKS5Parsed<Message> {
    let parsed = parse(bytes.span.extracting(head..<bytes.count))
    if case .message(_, let length) = parsed { head += length }
    return parsed
  }

  /// What is left, and nothing is kept.
  mutating func takeRest() -> [UInt8] {
    defer {
      bytes = []
      head = 0
    }
    return head == bytes.count ? [] : Array(bytes[head...])
  }
}
