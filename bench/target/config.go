package target

import "fmt"

// Names that the generated configuration knows.
const (
	Live = "live"                             // namespace without history: what a plain fan-out uses
	Kept = "kept"                             // namespace with history
	Key  = "ck_bench000000000000000000000000" // API key: a back end, not held to a publish rate
)

const adminToken = "at_bench0000000000000000000000"

// Config is the configuration of the server under test. What is not named has
// its default; upload is the public key that signs plugins; anonymous clients may subscribe, so that what is measured is not
// the checking of tokens. tls is a file with a certificate and its key; "": none.
func Config(client, admin, upload, tls string) string {
	secure := ""
	if tls != "" {
		secure = fmt.Sprintf("\n  tls: {cert: %q, key: %q}", tls, tls)
	}
	return fmt.Sprintf(`client:
  listen: %s%s
admin:
  listen: %s
  token: %s
plugins:
  keys:
    bench:
      public: %s
auth:
  api_keys:
    bench:
      key: %s
      grants: ['%s.>:publish', '%s.>:publish']
namespaces:
  %s:
    anonymous: [subscribe]
  %s:
    history: true
    anonymous: [subscribe, history]
drain:
  deadline: 0s
`, client, secure, admin, adminToken, upload, Key, Live, Kept, Live, Kept)
}
