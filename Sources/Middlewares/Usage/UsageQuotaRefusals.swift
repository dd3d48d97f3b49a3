public import Pipeline

// Programs that do not compile, with a sentence that names the culprit. Each overload is worse than every available one.

extension Listener {
  /// `UsageQuota(per: .identity)` with no authenticator in the chain.
  @available(
    *, unavailable,
    message:
      "UsageQuota(per: .identity) needs an authenticated connection: put an authenticator (PasswordAuth, ...) above it, or use per: .optionalIdentity()"
  )
  public init<C: ChainElement, D: TransparentElement, K: AccountKey>(
    _ transport: TransportKind<Carrier>, on address: String, name: String? = nil,
    @ChainBuilder<Carrier> chain: () -> C, @DestinationBuilder<Carrier> to destination: () -> D
  ) where Program == Site<Carrier, Identical>, C.Unmet == UsageQuota<K> {
    fatalError("unavailable")
  }
}

extension Composing {
  /// `UsageQuota(per: .identity)` above the authenticator.
  @available(
    *, unavailable,
    message:
      "UsageQuota(per: .identity) needs an authenticated connection: move the authenticator above it, or use per: .optionalIdentity()"
  )
  public static func buildPartialBlock<A: TransparentElement, B: ChainElement, U, K: AccountKey>(
    accumulated a: A, next b: B
  ) -> Refused<Carrier, Identified<U>>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, B.Needs: MetByNothing, B.Gives == Identified<U>,
    A.Unmet == UsageQuota<K>
  {
    fatalError("unavailable")
  }
}

extension UsageQuota {
  /// `UsageQuota(per: .clientAddress)`, and any other key that is no account.
  @available(
    *, unavailable,
    message:
      "a quota belongs to an account: write per: .identity below an authenticator (ClientAddressAuth makes one of an address), or per: .optionalIdentity(); to limit addresses there are TokenBucket and Bandwidth"
  )
  public init<Other: BucketKey>(
    _ quota: Quota, per: Per<Other>, plans: [String: QuotaAmount] = [:], onExhausted: QuotaExhaustion = .refuse,
    warnAt: Double? = 0.8, headers: LimitHeaders = .onRefusal, in store: QuotaStore? = nil
  ) where Key == OptionalIdentityKey {
    fatalError("unavailable")
  }
}
