/// A component that hears, besides, of exchanges which their transport refused before any chain ran: bytes that are no request
/// of the protocol, a head that is too long or comes too slowly, a request that has been here before.
///
/// Told are those of the listener's own chain that stand above every authenticator and every route: they would have seen the
/// exchange. They are told once its client has been answered, and can do nothing but note it.
public protocol ArrivalObserver: Component {
  /// - Parameter isRead: whether the request was understood; else what the exchange says of it means nothing.
  func noteRefusal(of exchange: Exchange, isRead: Bool, _ rejection: Rejection)
}

extension Placement {
  /// In the order of the chain.
  var arrivalObservers: [any ArrivalObserver] {
    var observers: [any ArrivalObserver] = []
    for entry in entries {
      if entry.kind == .destination || entry.kind == .route { break }
      let component = core(of: entry.component)
      if component is any Authenticator { break }
      if let observer = component as? any ArrivalObserver { observers.append(observer) }
    }
    return observers
  }
}
