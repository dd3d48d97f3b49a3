/// What listens, and what each exchange goes through: an app drawn as a text tree, as Mermaid or as DOT.
///
/// Shows the names and parameters of elements. An element puts no secret into its parameters.
public struct Plan: Sendable {
  /// How it is drawn.
  public enum Format: String, Sendable, CaseIterable {
    /// A tree for the terminal.
    case text
    /// A flow chart for Markdown (mermaid.js.org).
    case mermaid
    /// A graph for Graphviz.
    case dot
  }

  /// One element, group, route or destination.
  public struct Node: Sendable {
    public let kind: Placement.Entry.Kind
    /// `token-bucket "per user"`
    public let title: String
    public let parameters: [Parameter]
    /// `nil`: they were not asked for.
    public let counts: ElementCounts?
    /// How deep it stands: inside how many groups and routes.
    public let level: Int
    let above: Int
    let end: Int
  }

  /// One listener.
  public struct Part: Sendable {
    public let name: String
    public let transport: String
    public let address: String
    /// In the order in which an exchange comes to them.
    public let nodes: [Node]
    public let notes: [String]
  }

  /// The listeners, in the order in which they were declared.
  public let parts: [Part]

  /// - Parameter counted: with what each element has counted so far.
  public init(_ services: [any Serving], counted: Bool = false) {
    parts = services.map { service in
      let counts = counted ? service.counts() : []
      return Part(
        name: service.name, transport: service.placement.transport, address: service.address,
        nodes: service.placement.entries.enumerated().map { index, entry in
          Node(
            kind: entry.kind, title: entry.label + (entry.name.map { " \"\($0)\"" } ?? ""),
            parameters: entry.component.parameters, counts: counted ? counts[index] : nil, level: entry.level,
            above: entry.above, end: entry.end)
        },
        notes: service.placement.problems.notes)
    }
  }

  /// The drawing.
  public func drawn(as format: Format) -> String {
    switch format {
    case .text: drawnAsText()
    case .mermaid: drawnAsMermaid()
    case .dot: drawnAsDOT()
    }
  }
}

extension Plan.Node {
  /// `rate=50/s per=identity`
  var settings: String { parameters.map { "\($0.name)=\($0.value)" }.joined(separator: " ") }

  /// `120 in, 3 refused`
  var counters: String? {
    guard let counts else { return nil }
    var text = "\(counts.entered) in"
    if counts.refused > 0 { text += ", \(counts.refused) refused" }
    if counts.failed > 0 { text += ", \(counts.failed) failed" }
    return text
  }
}

extension Plan {
  /// What an app would run, placed and validated; nothing listens.
  ///
  /// - Throws: ``ConfigurationError`` when a chain cannot run.
  public init(of proxy: some Proxy) throws {
    var visitor = PlannedServices()
    try proxy.accept(&visitor)
    self.init(visitor.services)
  }
}

private struct PlannedServices: ListenerVisitor {
  var services: [any Serving] = []

  mutating func visit<Carrier: TransportExchange, Program: ChainElement>(
    _ listener: Listener<Carrier, Program>
  ) throws where Program.Carrier == Carrier, Program.Needs: MetByNothing {
    services.append(try Service(listener, shards: 1, counting: .off))
  }
}
