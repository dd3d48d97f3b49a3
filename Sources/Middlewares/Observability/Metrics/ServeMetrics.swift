public import Pipeline

/// Answers with a page of metrics: what a monitoring scrapes.
///
/// ```swift
/// Route("/metrics", methods: [.get], matching: .exact, to: { ServeMetrics { page in server.collect(into: &page) } })
/// ```
/// In OpenMetrics for who asks for it, else in the text format of Prometheus. The page is gathered on the offload pool, so
/// that no loop waits for it; where the pool is full, on the loop: an overloaded server is the one that has to be looked at.
public struct ServeMetrics: Destination {
  private let gather: @Sendable (inout MetricPage) -> Void

  /// - Parameter gather: asks the sources; called on any thread.
  public init(_ gather: @escaping @Sendable (inout MetricPage) -> Void) { self.gather = gather }

  public func serve(_ exchange: HTTPExchange) async throws -> Summary {
    let format = MetricFormat(for: exchange.request.fields)
    let gather = gather
    let write: @Sendable () -> [UInt8] = {
      var page = MetricPage()
      gather(&page)
      return format.text(of: page)
    }
    let body: [UInt8]
    do {
      body = try await exchange.runtime.offload(write)
    } catch let rejection as Rejection where rejection.kind == .overloaded {
      body = write()
    }
    return try await exchange.respond(200, body: body) { head in
      head.fields.set("content-type", format.contentType)
      head.fields.set("cache-control", "no-store")
    }
  }
}
