/// One walk over a chain when the app is built: gives each element its index, carries state over from the chain that it
/// replaces, validates it, and draws the plan.
public struct Placement: Sendable {
  /// One element or destination in its place.
  public struct Entry: Sendable {
    public enum Kind: Sendable, Hashable {
      case element, group, route, destination
    }

    public let component: any Component
    public let label: String
    public let name: String?
    /// The names of the groups around it, outermost first.
    public let groups: [String]
    /// How deep it stands: inside how many groups and routes.
    public let level: Int
    public internal(set) var kind: Kind
    /// The index of the element directly above: the one whose `next` this is. -1: none.
    public let above: Int
    /// Whether it may throw after its `next` has returned.
    let throwsLate: Bool
    /// One past the index of the last element inside; for a leaf, one past its own.
    public internal(set) var end: Int

    /// `edge/token-bucket "per user"`: unique where names are.
    public var qualifiedName: String {
      (groups + [label]).joined(separator: "/") + (name.map { " \"\($0)\"" } ?? "")
    }
  }

  public private(set) var entries: [Entry] = []
  public var problems: Problems
  /// The elements that took over their state from the chain before.
  public private(set) var adopted: [String] = []
  /// The elements with state of their own, found in no chain before.
  public private(set) var fresh: [String] = []

  /// "tcp", "socks5", "http"; "any" where it is not known.
  public let transport: String
  /// Tells the elements without state of one placement from those of another.
  final class Identity: Sendable {}
  let identity = Identity()

  private var level = 0
  private var groups: [String] = []
  private var lastOpened = -1
  private var enclosing: [Int] = []
  private var predecessors: Predecessors

  /// - Parameters:
  ///   - transport: the name of the listener's transport: "tcp", "socks5", "http"; "any" where it is not known.
  ///   - old: the entries of the chain that this one replaces.
  public init(transport: String, replacing old: [Entry] = []) {
    self.transport = transport
    problems = Problems(transport: transport)
    predecessors = Predecessors(old)
  }

  public var count: Int { entries.count }

  /// For each element, the nearest above it that may throw after its `next` has returned, or -1.
  var lateThrowers: [Int] {
    entries.map { entry in
      var index = entry.above
      while index >= 0, !entries[index].throwsLate { index = entries[index].above }
      return index
    }
  }

  /// Registers a component where it stands and returns its index.
  mutating func begin<C: Component>(
    _ component: inout C, kind: Entry.Kind = .element, throwsLate: Bool = false
  ) -> Int {
    adoptState(into: &component)
    let index = entries.count
    entries.append(
      Entry(
        component: component, label: C.label, name: component.name, groups: groups, level: level, kind: kind,
        above: lastOpened, throwsLate: throwsLate, end: index + 1))
    problems.element = entries[index].qualifiedName
    if let above = entries.dropLast().last, lastOpened == index - 1, above.kind == .destination {
      problems.refuse("nothing comes here: \(above.label) above it serves every exchange")
    }
    problems.checkUses(of: component)
    component.validate(into: &problems)
    problems.above.append(component)
    lastOpened = index
    return index
  }

  /// Places what stands inside the element with this index.
  mutating func inside(_ index: Int, _ body: (inout Placement) -> Void) {
    level += 1
    enclosing.append(index)
    body(&self)
    enclosing.removeLast()
    level -= 1
    entries[index].end = entries.count
    if entries.count > index + 1, entries[index].kind == .element { entries[index].kind = .group }
  }

  /// Places what stands inside a group with this name.
  mutating func grouped(as name: String?, _ body: (inout Placement) -> Void) {
    if let name { groups.append(name) }
    body(&self)
    if name != nil { groups.removeLast() }
  }

  /// Places a route: what stands in it does not stand above the next route.
  mutating func route(_ body: (inout Placement) -> Void) {
    let above = problems.above
    let route = enclosing.last ?? -1
    if route >= 0 { entries[route].kind = .route }
    body(&self)
    problems.above = above
    // A route that does not match calls its `next`, which is the element after it.
    lastOpened = route
  }

  /// Places a destination beside the way that exchanges usually take: it does not stand above what comes next.
  mutating func aside(_ body: (inout Placement) -> Void) {
    let above = problems.above
    body(&self)
    problems.above = above
    lastOpened = enclosing.last ?? -1
  }

  /// Says what of the old chain found no place in this one.
  mutating func finish() {
    for dropped in predecessors.left {
      problems.note("\(dropped) is not in the new chain, or is of another type there: its state is dropped")
    }
  }

  private mutating func adoptState<C: Component>(into component: inout C) {
    guard component.state != nil else { return }
    let own = (groups + [C.label]).joined(separator: "/") + (component.name.map { " \"\($0)\"" } ?? "")
    switch predecessors.take(for: component, in: groups) {
    case .none:
      fresh.append(own)
    case .ambiguous:
      problems.note("several \(C.label) have no name: their state is not carried over; give each a name")
    case .one(let old):
      if Pipeline.adoptState(into: &component, from: old) { adopted.append(own) } else { fresh.append(own) }
    }
  }
}
