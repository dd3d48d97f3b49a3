internal import COpenSSL

/// A public key in OpenSSL's hands, bound to one algorithm: it verifies signatures of that algorithm and of no other.
///
/// `@unchecked`: an EVP_PKEY is counted atomically and, once made, only read, which OpenSSL allows from several
/// threads.
final class PublicKey: @unchecked Sendable {
  enum Kind: String, Sendable {
    case rsa, p256, ed25519
  }

  let kind: Kind
  private let pointer: OpaquePointer

  /// From a PEM text with one `PUBLIC KEY` (RFC 7468, 13).
  convenience init(pem: [UInt8], _ kind: Kind) throws {
    // BIO_new_mem_buf reads the bytes in place; the buffer outlives the BIO, which is freed in this closure.
    let pointer = try pem.withUnsafeBufferPointer { buffer in
      guard let bio = BIO_new_mem_buf(buffer.baseAddress, Int32(clamping: buffer.count)) else { throw Self.outOfMemory }
      defer { BIO_free(bio) }
      return PEM_read_bio_PUBKEY(bio, nil, nil, nil)
    }
    ERR_clear_error()
    guard let pointer else {
      throw JWTKeyError("it is no PEM text with a PUBLIC KEY (a certificate or a private key is not taken)")
    }
    try self.init(pointer, kind)
  }

  /// From a SubjectPublicKeyInfo (RFC 5280, 4.1.2.7).
  convenience init(der: [UInt8], _ kind: Kind) throws {
    // d2i_PUBKEY reads within the buffer and moves `position`, a copy of its address.
    let pointer = der.withUnsafeBufferPointer { buffer in
      var position = buffer.baseAddress
      return d2i_PUBKEY(nil, &position, buffer.count)
    }
    ERR_clear_error()
    guard let pointer else { throw JWTKeyError("OpenSSL does not take it for a public key") }
    try self.init(pointer, kind)
  }

  /// Takes the key over, and frees it when it is not fit.
  private init(_ pointer: OpaquePointer, _ kind: Kind) throws {
    self.pointer = pointer
    self.kind = kind
    // From here on `deinit` frees it, whether or not the checks throw.
    try check()
  }

  deinit { EVP_PKEY_free(pointer) }

  private static let outOfMemory = JWTKeyError("OpenSSL has no memory")

  private func check() throws {
    let type = EVP_PKEY_get_base_id(pointer)
    switch kind {
    case .rsa:
      guard type == EVP_PKEY_RSA else { throw JWTKeyError("it is no RSA key") }
      let bits = EVP_PKEY_get_bits(pointer)
      // RFC 7518, 3.3. The upper bound keeps one verification short.
      guard (2048...8192).contains(bits) else {
        throw JWTKeyError("the RSA key has \(bits) bits: 2048 to 8192 are allowed")
      }
    case .p256:
      var name = [CChar](repeating: 0, count: 64)
      var length = 0
      guard type == EVP_PKEY_EC, EVP_PKEY_get_group_name(pointer, &name, name.count, &length) == 1,
        name.prefix(length).elementsEqual("prime256v1".utf8.map { CChar($0) })
      else {
        ERR_clear_error()
        throw JWTKeyError("it is no key on the curve P-256")
      }
    case .ed25519:
      guard type == EVP_PKEY_ED25519 else { throw JWTKeyError("it is no Ed25519 key") }
      return
    }
    guard let context = EVP_PKEY_CTX_new(pointer, nil) else { throw Self.outOfMemory }
    defer { EVP_PKEY_CTX_free(context) }
    let isSound = EVP_PKEY_public_check(context) == 1
    ERR_clear_error()
    guard isSound else { throw JWTKeyError("the numbers of the key are no public key") }
  }

  /// Whether the signature is this key's, in the form of RFC 7518, 3.3 and 3.4, and RFC 8037, 3.1.
  func verifies(_ signature: [UInt8], of message: [UInt8]) -> Bool {
    let encoded: [UInt8]
    switch kind {
    case .rsa:
      guard signature.count == Int(EVP_PKEY_get_size(pointer)) else { return false }
      encoded = signature
    case .p256:
      // Two numbers of 32 bytes each; OpenSSL wants them in DER.
      guard signature.count == 64 else { return false }
      encoded = DER.sequence(DER.integer(signature[..<32]), DER.integer(signature[32...]))
    case .ed25519:
      guard signature.count == 64 else { return false }
      encoded = signature
    }
    guard let context = EVP_MD_CTX_new() else { return false }
    defer {
      EVP_MD_CTX_free(context)
      // A wrong signature leaves errors in the queue of this thread, which others would find.
      ERR_clear_error()
    }
    let digest = kind == .ed25519 ? nil : EVP_sha256()
    guard EVP_DigestVerifyInit(context, nil, digest, nil, pointer) == 1 else { return false }
    return EVP_DigestVerify(context, encoded, encoded.count, message, message.count) == 1
  }
}

/// HMAC-SHA-256 (RFC 2104).
enum HMAC256 {
  static func verifies(_ signature: [UInt8], of message: [UInt8], key: [UInt8]) -> Bool {
    var digest = [UInt8](repeating: 0, count: 32)
    var length: UInt32 = 0
    guard signature.count == 32,
      HMAC(EVP_sha256(), key, Int32(key.count), message, message.count, &digest, &length) != nil
    else {
      ERR_clear_error()
      return false
    }
    // Takes the same time wherever the first difference is.
    return length == 32 && CRYPTO_memcmp(digest, signature, 32) == 0
  }
}

/// As much of DER as keys and signatures need (X.690, 8 and 10).
enum DER {
  static func sequence(_ parts: [UInt8]...) -> [UInt8] { tagged(0x30, parts.flatMap { $0 }) }

  /// A number without sign, from its bytes.
  static func integer(_ bytes: some Collection<UInt8>) -> [UInt8] {
    var digits = Array(bytes.drop { $0 == 0 })
    if digits.isEmpty || digits[0] >= 0x80 { digits.insert(0, at: 0) }
    return tagged(0x02, digits)
  }

  static func bitString(_ bytes: [UInt8]) -> [UInt8] { tagged(0x03, [0] + bytes) }

  static func tagged(_ tag: UInt8, _ content: [UInt8]) -> [UInt8] {
    var length = [UInt8(truncatingIfNeeded: content.count)]
    if content.count >= 0x80 {
      length = [UInt8(truncatingIfNeeded: content.count >> 8), length[0]]
      length = content.count < 0x100 ? [0x81, length[1]] : [0x82] + length
    }
    return [tag] + length + content
  }
}
