/// A component around another one (`.named`, `.shadow`): a reload looks through it, so that an element keeps its state when
/// it is put into shadow or taken out of it.
protocol ComponentWrapper: Component {
  associatedtype Wrapped: Component
  var wrapped: Wrapped { get set }
}

extension ComponentWrapper {
  fileprivate static var coreType: any Component.Type {
    (Wrapped.self as? any ComponentWrapper.Type)?.coreType ?? Wrapped.self
  }

  fileprivate var core: any Component { (wrapped as? any ComponentWrapper)?.core ?? wrapped }

  fileprivate mutating func adoptInside(from old: any Component) -> Bool { adoptState(into: &wrapped, from: old) }
}

/// The component itself, without what is wrapped around it.
func core(of component: any Component) -> any Component {
  (component as? any ComponentWrapper)?.core ?? component
}

/// Hands the state of `old`, which is no wrapper, to the component inside `new`. False when the types differ.
func adoptState<C: Component>(into new: inout C, from old: any Component) -> Bool {
  if let old = old as? C {
    new.adopt(from: old)
    return true
  }
  func open<W: ComponentWrapper>(_ wrapper: W) -> (C, Bool) {
    var wrapper = wrapper
    let done = wrapper.adoptInside(from: old)
    return (wrapper as! C, done)
  }
  guard let wrapper = new as? any ComponentWrapper else { return false }
  let (adopted, done) = open(wrapper)
  new = adopted
  return done
}

/// The elements of the chain that is replaced, by type (phantom parameters included), groups and name.
struct Predecessors: Sendable {
  enum Match {
    case none, ambiguous
    case one(any Component)
  }

  private struct Candidate {
    let component: any Component
    let qualifiedName: String
    var count = 1
    var taken = 0
  }

  private var byKey: [String: Candidate] = [:]

  init(_ old: [Placement.Entry]) {
    for entry in old where entry.component.state != nil {
      let key = Self.key(entry.component, entry.groups)
      if byKey[key] != nil {
        byKey[key]!.count += 1
      } else {
        byKey[key] = Candidate(component: core(of: entry.component), qualifiedName: entry.qualifiedName)
      }
    }
  }

  /// Two unnamed of one kind are not guessed.
  mutating func take(for component: any Component, in groups: [String]) -> Match {
    let key = Self.key(component, groups)
    guard let candidate = byKey[key] else { return .none }
    byKey[key]!.taken += 1
    return candidate.count > 1 || candidate.taken > 0 ? .ambiguous : .one(candidate.component)
  }

  /// Those that nobody asked for.
  var left: [String] { byKey.values.filter { $0.taken == 0 }.map(\.qualifiedName).sorted() }

  private static func key(_ component: any Component, _ groups: [String]) -> String {
    "\(String(reflecting: type(of: core(of: component))))/\(groups.joined(separator: "/"))/\(component.name ?? "")"
  }
}
