package wire

// Status returns the HTTP status of a response that carries the code
// (PROTOCOL §8). A 4xx other than 401, 408 and 429 will be the same next time;
// 5xx will not. A code that this version does not know is 500.
//
// The numbers are those of RFC 9110 §15 and RFC 6585; net/http is not imported
// for them, because every client links this package.
func (c Code) Status() int {
	switch c {
	case CodeBadFrame, CodeBadUTF8, CodeBadJSON, CodeBadChannel, CodeBadPattern, CodeBadCursor,
		CodeBadRequest, CodeBadVersion, CodeTooMany, CodeSubscribed, CodeUnsupported:
		return 400
	case CodeBadToken, CodeTokenExpired, CodeTokenRequired:
		return 401
	case CodeBadOrigin, CodeForbidden, CodeDenied, CodeRevoked:
		return 403
	case CodeNotSubscribed, CodeNoSession, CodeNotFound, CodeNoHistory, CodeNoPresence:
		return 404
	case CodeTimeout:
		return 408
	case CodeTooBig:
		return 413
	case CodeRateLimited:
		return 429
	case CodeOverloaded, CodeDraining, CodeSlow, CodePlugin, CodeNotStored:
		return 503
	case CodeAckTimeout:
		return 504
	}
	return 500
}
