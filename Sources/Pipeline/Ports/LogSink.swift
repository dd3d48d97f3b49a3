/// Takes finished log lines and writes them elsewhere.
///
/// `append` never blocks and never waits: lines go into a bounded buffer per loop, one writer drains them. What does not
/// fit is dropped and counted, so that a slow disk slows no traffic.
public protocol LogSink: AnyObject, Sendable {
  /// Takes one line, without its line end.
  ///
  /// - Parameter shard: the loop that calls (`exchange.shard`).
  /// - Returns: `false` when the line was dropped.
  @discardableResult func append(_ line: RawSpan, shard: Int) -> Bool

  /// Lines dropped since the start.
  var dropped: Int { get }
}
