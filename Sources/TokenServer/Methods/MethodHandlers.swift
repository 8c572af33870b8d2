import TokenModel
import TokenRPC

/// The handlers of the table: read the params, see whether the caller may, and name the work. No rule about tokens is
/// decided here.
enum MethodHandlers {
    // MARK: What makes a token

    static func register(_ context: MethodContext, _ params: inout ParamsReader) throws -> Command {
        let request = try TokenRequest(context, &params)
        try params.finish()
        let application = try request.application(of: context.caller)
        return .register(application: application, project: request.project, ttlSeconds: request.ttlSeconds)
    }

    static func generate(_ context: MethodContext, _ params: inout ParamsReader) throws -> Command {
        let request = try TokenRequest(context, &params)
        try params.finish()
        let application = try request.application(of: context.caller)
        return .generate(application: application, project: request.project, ttlSeconds: request.ttlSeconds)
    }

    static func rotate(_ context: MethodContext, _ params: inout ParamsReader) throws -> Command {
        let request = try TokenRequest(context, &params)
        let settings = context.services.settings
        let graceSeconds = try params.integer(
            Wire.Key.graceSeconds, in: settings.graceSeconds, default: settings.defaultGraceSeconds)
        try params.finish()
        let application = try request.application(of: context.caller)
        return .rotate(
            application: application, project: request.project, ttlSeconds: request.ttlSeconds,
            graceSeconds: graceSeconds)
    }

    /// The params that register, generate and rotate share.
    private struct TokenRequest {
        let project: ProjectCode
        let named: ApplicationName?
        let ttlSeconds: Int64

        init(_ context: MethodContext, _ params: inout ParamsReader) throws {
            let settings = context.services.settings
            project = try params.projectCode(Wire.Key.projectCode)
            named = try params.optionalApplicationName(Wire.Key.application)
            ttlSeconds = try params.integer(
                Wire.Key.ttlSeconds, in: settings.ttlSeconds, default: settings.defaultTTLSeconds)
        }

        func application(of caller: Caller) throws -> ApplicationName { try caller.application(named) }
    }

    // MARK: What ends tokens

    static func revoke(_ context: MethodContext, _ params: inout ParamsReader) throws -> Command {
        if let token = try params.optionalContent(Wire.Key.token) {
            let digest = TokenDigest(hashing: token)
            try params.finish()
            return .revokeToken(digest)
        }
        let project = try params.projectCode(Wire.Key.projectCode)
        let namesAll = try params.optionalContent(Wire.Key.application).map { $0.elementsEqual("*".utf8) } ?? false
        let named = namesAll ? nil : try params.optionalApplicationName(Wire.Key.application)
        try params.finish()
        let caller = try context.caller
        guard namesAll else { return .revoke(application: try caller.application(named), project: project) }
        guard caller.isAdministrator else { throw MethodFailure.notYours }
        return .revokeProject(project)
    }

    static func unregister(_ context: MethodContext, _ params: inout ParamsReader) throws -> Command {
        let named = try params.optionalApplicationName(Wire.Key.application)
        try params.finish()
        return .unregister(application: try context.caller.application(named))
    }

    // MARK: What memory answers

    static func introspect(_ params: inout ParamsReader) throws -> TokenDigest {
        let digest = TokenDigest(hashing: try params.content(Wire.Key.token))
        try params.finish()
        return digest
    }

    static func whoami(_ context: MethodContext, _ params: inout ParamsReader, _ writer: ByteWriter) throws {
        try params.finish()
        writer.append(try context.caller)
    }

    static func ping(_ context: MethodContext, _ params: inout ParamsReader, _ writer: ByteWriter) throws {
        try params.finish()
        writer.append("{}")
    }
}

extension Caller {
    /// The application that a caller means and may act on: the named one, or itself where none is named.
    ///
    /// Who may not act on an application gets the same refusal whether it exists or not.
    /// - Throws: `MethodFailure` permission denied.
    func application(_ named: ApplicationName?) throws -> ApplicationName {
        guard principal.mayOwn || (isAdministrator && named != nil) else { throw MethodFailure.mayOwnNothing }
        guard let application = named ?? principal.application else { throw MethodFailure.mayOwnNothing }
        guard isAdministrator || application.isOwned(by: principal) else { throw MethodFailure.notYours }
        return application
    }
}
