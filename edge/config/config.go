// Package config is the configuration of a node: one typed struct, filled from
// defaults, a YAML file and the environment, in that order. The struct tags are
// the only place where a key, its default and its meaning are written;
// `chappe config doc` and docs/configuration.md are made from them.
//
// Tags: yaml is the key; default is its text form; doc says what it means, and
// what the zero value means where that is not plain; one lists the words
// allowed; min and max bound numbers, sizes and durations; file names the
// sibling that is read from the named file; live marks what a running node takes
// in.
package config

import "path/filepath"

// Config is everything that an operator sets.
type Config struct {
	Region     string                `yaml:"region" default:"local" doc:"Name of the region this node stands in, told to clients: 1 to 32 of a-z 0-9 -."`
	Client     Client                `yaml:"client" doc:"The port that clients use."`
	Admin      Admin                 `yaml:"admin" doc:"The port for operators: health, metrics, connections. Keep it off the internet."`
	Auth       Auth                  `yaml:"auth" doc:"Who may connect. Without keys only what the namespaces grant to anonymous clients is allowed."`
	Namespaces map[string]*Namespace `yaml:"namespaces" doc:"Options by the first token of a channel's name; * stands for every namespace not named (ALL in the names of environment variables)."`
	Limits     Limits                `yaml:"limits" doc:"What one client may do and hold."`
	Mesh       Mesh                  `yaml:"mesh" doc:"The other regions, and the other nodes of this one. chappe regions init writes it. Without it the node is alone and opens no port for it."`
	History    History               `yaml:"history" doc:"The disk behind namespaces with history."`
	Plugins    Plugins               `yaml:"plugins" doc:"WASM plugins: who may upload them, and what they may use. Without upload keys there are none (chappe dev takes unsigned ones)."`
	Memory     Size                  `yaml:"memory" default:"256MiB" min:"8MiB" doc:"Memory for the messages of all channels together. Over it the least recently used channels lose theirs. With history and a store they are read back from the disk for who needs them; else whoever asks for them is told a gap (trimmed). Connections come on top: 4 to 8 KiB each."`
	Data       string                `yaml:"data" default:"./chappe-data" doc:"Directory for what must survive a restart. chappe dev uses a temporary one."`
	Log        Log                   `yaml:"log" doc:"Logs go to stderr: one line when a connection opens and one when it closes, none per message."`
	Drain      Drain                 `yaml:"drain" doc:"How the node leaves on SIGTERM or SIGINT."`

	dir  string            // of the file; "": there was none
	from map[string]string // where each value that is no default came from, by key path
}

// Path returns a path as a key of the file gave it: relative to the file.
func (c *Config) Path(name string) string {
	if name == "" || filepath.IsAbs(name) || c.dir == "" {
		return name
	}
	return filepath.Join(c.dir, name)
}

// Client is the listener for clients.
type Client struct {
	Listen         string   `yaml:"listen" default:"127.0.0.1:8080" doc:"Address and port. Without TLS in front, keep it on a loopback or private address."`
	PublicURL      string   `yaml:"public_url" doc:"URL under which clients reach this node: https://relay.example. The other nodes of the mesh tell it to theirs, for when they drain or are lost; one without is offered to nobody."`
	Alternatives   []string `yaml:"alternatives" doc:"URLs of other nodes, best first, told to clients for when this one drains or is lost. Empty: the nodes of the mesh that are heard, let clients in and have a public_url."`
	Origins        []string `yaml:"origins" doc:"Web origins whose pages may connect, as https://app.example; https://*.app.example for all its subdomains; * for any. Empty: only pages of the node's own origin. Clients that are no browsers send none and are not concerned."`
	TrustedProxies []string `yaml:"trusted_proxies" doc:"Addresses or networks (10.0.0.0/8) whose X-Forwarded-For and Forwarded headers, and PROXY protocol, are believed. Empty: nobody's."`
	TLS            TLS      `yaml:"tls" doc:"TLS on this port, and WebTransport beside it. Without a certificate and without ACME the port speaks plain HTTP."`
	ProxyProtocol  bool     `yaml:"proxy_protocol" default:"false" doc:"Every connection from a trusted proxy begins with a PROXY protocol header, version 1 or 2."`
}

// TLS is where the client port's certificate comes from.
type TLS struct {
	Cert         string   `yaml:"cert" doc:"File with the certificate chain in PEM. It is read again when it changes."`
	Key          string   `yaml:"key" doc:"File with its private key in PEM."`
	ACMEHosts    []string `yaml:"acme_hosts" doc:"Host names for which certificates are obtained by ACME, instead of files. Port 443 of each must lead to this port (TLS-ALPN-01), or to those of several nodes of this region, which share them. Certificates are kept in the data directory."`
	ACMEEmail    string   `yaml:"acme_email" doc:"Address that the authority may write to."`
	ACMEURL      string   `yaml:"acme_url" doc:"Directory of another authority than Let's Encrypt."`
	TLS12        bool     `yaml:"tls12" default:"false" doc:"Also take TLS 1.2, for clients that have no 1.3, without session tickets. WebTransport is always 1.3."`
	WebTransport bool     `yaml:"webtransport" default:"true" doc:"With TLS: also listen for WebTransport, on the same port number over UDP."`
}

// On reports whether the client port speaks TLS.
func (t *TLS) On() bool { return t.Cert != "" || t.Key != "" || len(t.ACMEHosts) > 0 }

// Admin is the listener for operators.
type Admin struct {
	Listen    string   `yaml:"listen" default:"127.0.0.1:8081" doc:"Address and port. An address that is not loopback needs a token."`
	Token     Secret   `yaml:"token" doc:"Bearer token of the admin API, at least 16 bytes. Without one only health and metrics answer, and only to this machine."`
	TokenFile string   `yaml:"token_file" file:"token" doc:"File that holds the token."`
	Hosts     []string `yaml:"hosts" doc:"Names under which this port is reached (the Host header), besides IP addresses, localhost and the name in admin.listen. Others are refused, so that no web page can point a name of its own here."`
}

// Auth says which tokens are believed, and what seals resume tickets.
type Auth struct {
	Keys        map[string]*Key    `yaml:"keys" doc:"Keys that sign tokens, by key id (the kid header). A token without a kid is tried with every key of its algorithm."`
	APIKeys     map[string]*APIKey `yaml:"api_keys" doc:"Keys of back ends by name. A back end is not held to the publish rate of a connection. chappe token -api-key makes one."`
	Issuer      string             `yaml:"issuer" doc:"The iss claim that tokens must have. Empty: any."`
	Audience    string             `yaml:"audience" doc:"The aud claim that tokens must have. Empty: any."`
	Leeway      Duration           `yaml:"leeway" default:"5s" min:"1ms" max:"5m" doc:"How far clocks may differ, for exp, nbf and iat."`
	Secret      Secret             `yaml:"secret" doc:"Seals resume tickets, at least 32 bytes; the same on all nodes between which clients move. Empty: random, so that tickets end with the process and clients show their tokens again."`
	SecretFile  string             `yaml:"secret_file" file:"secret" doc:"File that holds the secret."`
	Retired     Secret             `yaml:"retired" doc:"The secret before this one: tickets sealed with it still open. Give it for a day when the secret changes."`
	RetiredFile string             `yaml:"retired_file" file:"retired" doc:"File that holds the secret before."`
}

// Key verifies tokens.
type Key struct {
	Algorithm  string `yaml:"algorithm" default:"HS256" one:"HS256 ES256 EdDSA" doc:"The only algorithm for which this key is used."`
	Secret     Secret `yaml:"secret" doc:"HS256: the secret, at least 32 bytes."`
	SecretFile string `yaml:"secret_file" file:"secret" doc:"File that holds the secret."`
	Public     string `yaml:"public" doc:"ES256, EdDSA: the public key in PEM (PKIX)."`
	PublicFile string `yaml:"public_file" file:"public" doc:"File that holds the public key."`
}

// APIKey lets a back end in.
type APIKey struct {
	Key     Secret   `yaml:"key" doc:"The key itself: ck_ and at least 22 random characters, sent as Authorization: Bearer."`
	KeyFile string   `yaml:"key_file" file:"key" doc:"File that holds the key."`
	SHA256  string   `yaml:"sha256" doc:"Instead of the key: its SHA-256 in hex, so that the file holds no secret."`
	Grants  []string `yaml:"grants" doc:"What it may do, at least one: pattern:actions, as rides.>:publish,history. Actions are publish, subscribe, history, presence or all."`
}

// Namespace holds the options of the channels whose first token is its name.
type Namespace struct {
	History   bool     `yaml:"history" default:"false" doc:"Keep messages for rewind, history queries and late resumes. Without it a channel keeps 1024 messages or 1 MiB for 10 s: enough for a short loss of the connection."`
	Entries   int      `yaml:"entries" live:"true" default:"1000" min:"1" max:"10000000" doc:"Messages kept per channel, with history."`
	Bytes     Size     `yaml:"bytes" live:"true" default:"4MiB" min:"1KiB" doc:"Bytes kept per channel, with history."`
	Age       Duration `yaml:"age" live:"true" default:"2m" min:"1s" doc:"Age kept, with history."`
	Policy    string   `yaml:"policy" live:"true" default:"resume" one:"resume latest conflate close" doc:"How a reader that is overrun goes on, if it names nothing else: resume (catch up from what is kept), latest (jump to the newest), conflate (the newest of each key), close (end the connection). What is lost is told as a gap."`
	Presence  bool     `yaml:"presence" default:"false" doc:"Members are listed, joins and leaves told."`
	Cache     bool     `yaml:"cache" live:"true" default:"false" doc:"A new subscriber gets the last message first."`
	Lossy     bool     `yaml:"lossy" live:"true" default:"false" doc:"Over WebTransport messages come as datagrams, unless the client asks for something else: what the network loses is not sent again, and the numbers of the stamps show it. Elsewhere without effect."`
	Wide      bool     `yaml:"wide" default:"false" doc:"Patterns need not fix their first token: *.x and >. Only * can have it, for such a pattern belongs to no namespace."`
	Anonymous []string `yaml:"anonymous" live:"true" doc:"What clients without a token may do: publish, subscribe, history, presence or all."`
	Message   Size     `yaml:"message" live:"true" default:"64KiB" min:"1" max:"16MiB" doc:"Bytes of one payload. At most limits.message."`
	Members   int      `yaml:"members" live:"true" default:"10000" min:"1" max:"1000000" doc:"Presence entries per channel."`
}

// Mesh joins nodes and regions.
type Mesh struct {
	Node    string               `yaml:"node" default:"n1" doc:"Name of this node, unique in its region: a-z 0-9 -. Of two nodes with one name the later ends."`
	Listen  string               `yaml:"listen" doc:"Address and port for links from other regions. The region with the larger name makes the link; the smallest needs no peers that it can reach."`
	Route   string               `yaml:"route" doc:"Address and port for the other nodes of this region. Empty: this node is its region's only one."`
	Routes  []string             `yaml:"routes" doc:"host:port of the route ports of other nodes of this region; one that is up is enough."`
	Key     Secret               `yaml:"key" doc:"The region's secret key (an nkey seed), the same on all its nodes."`
	KeyFile string               `yaml:"key_file" file:"key" doc:"File that holds it."`
	TLS     MeshTLS              `yaml:"tls" doc:"Certificates of links and routes: mutual, TLS 1.3. Needed unless all stays on this machine."`
	Ticket  Duration             `yaml:"ticket_age" default:"10m" min:"0s" max:"1h" doc:"While no other region was heard for 30 s (no other node, where there is one region): the oldest resume ticket that is taken. Older ones are refused, for a revocation may have been missed; clients then show their tokens."`
	Peers   map[string]*MeshPeer `yaml:"peers" doc:"The other regions, by name."`
}

// On reports whether the node has anybody to join.
func (m *Mesh) On() bool { return m.Key.Reveal() != "" || m.KeyFile != "" }

// MeshTLS names PEM files.
type MeshTLS struct {
	Cert string `yaml:"cert" doc:"File with this region's certificate."`
	Key  string `yaml:"key" doc:"File with its private key."`
	CA   string `yaml:"ca" doc:"File with the authority that signed the certificates of all regions."`
}

// MeshPeer is another region.
type MeshPeer struct {
	Key  string   `yaml:"key" doc:"Its public key (U...): what its links are known and limited by."`
	URLs []string `yaml:"urls" doc:"host:port of its nodes. Needed if its name is smaller than ours: we make the link."`
}

// History is the store on disk.
type History struct {
	Store      bool     `yaml:"store" default:"true" doc:"Keep the messages of namespaces with history in the data directory, so that they outlive the process: this node's own, and a copy of what every other node of the mesh says. Without it they are in memory only, and a publisher can have no acknowledgement but local."`
	Size       Size     `yaml:"size" default:"1GiB" min:"16MiB" doc:"Bytes on disk for what one node says in one life. The oldest go first; so do those older than the longest age of a namespace, and a quarter of an hour. To find them takes up to 2 MiB of memory per GiB, besides memory."`
	Sync       bool     `yaml:"sync" default:"false" doc:"Wait for the disk itself (fsync) before a message counts as stored: it then outlives a loss of power, and writing is several times slower. Without it a message that is stored outlives the process, and the disk has it within two minutes."`
	AckTimeout Duration `yaml:"ack_timeout" default:"5s" min:"100ms" max:"1m" doc:"How long a publisher that asked for stored or replicated waits before it is told that the outcome is not known."`
}

// Plugins says who may upload code, and what it may use.
type Plugins struct {
	Keys   map[string]*UploadKey `yaml:"keys" doc:"Keys that sign uploads, by name. chappe plugin keygen makes one."`
	Memory Size                  `yaml:"memory" default:"16MiB" min:"64KiB" max:"256MiB" doc:"The most memory that one instance of a plugin may wish for. Plugins in Go need 16 MiB at most; others have 4 MiB unless they wish for more."`
	Share  int                   `yaml:"share" default:"50" min:"1" max:"100" doc:"How much of one processor's time one version of a plugin may use, in percent over a second. Calls beyond fail, as the plugin's role says."`
}

// UploadKey is who may upload plugins.
type UploadKey struct {
	Public string `yaml:"public" doc:"The public key, as chappe plugin keygen prints it."`
	State  string `yaml:"state" default:"active" one:"active retired revoked" doc:"retired: what it signed stays good, nothing new is taken. revoked: what it signed is refused, also what is stored."`
}

// Limits bound one client, and the node.
type Limits struct {
	Message       Size     `yaml:"message" default:"64KiB" min:"1" max:"16MiB" doc:"Bytes of one payload, in every namespace. With a mesh, or with a store for a namespace with history, at most 4032KiB: one packet."`
	Frame         Size     `yaml:"frame" default:"256KiB" min:"1KiB" max:"64MiB" doc:"Bytes of one frame or request body from a client. More than limits.message: base64 and a batch need room."`
	Batch         int      `yaml:"batch" default:"1000" min:"1" max:"100000" doc:"Messages of one publish batch and of one page of history."`
	Control       Size     `yaml:"control" default:"256KiB" min:"4KiB" max:"64MiB" doc:"Bytes of answers that a client may leave unread before it is cut."`
	Subscriptions int      `yaml:"subscriptions" live:"true" default:"1000" min:"1" max:"1000000" doc:"Subscriptions of one connection."`
	Rate          int      `yaml:"rate" live:"true" default:"100" min:"1" doc:"Publishes per second of one connection, sustained."`
	Burst         int      `yaml:"burst" live:"true" default:"200" min:"1" doc:"Publishes of one connection at once."`
	Admission     int      `yaml:"admission" live:"true" default:"0" min:"0" doc:"Clients let in within a second, sustained, and as many at once. More are refused (overloaded) and each told a moment of its own to come back at. 0: 2000 for each processor."`
	Connections   int      `yaml:"connections" live:"true" default:"0" min:"0" doc:"Connections of this node, each by what it costs in memory: a plain WebSocket or event stream is 1, over TLS 3, an event stream over HTTP/2 10, WebTransport 20, a poll that is held 5, 8 over TLS, 10 over HTTP/2. 0: what the memory allows, 16 KiB for 1. The open-file limit bounds sockets as well."`
	Hello         Duration `yaml:"hello" default:"5s" min:"100ms" max:"1m" doc:"Time for the first frame of a WebSocket client."`
	Ping          Duration `yaml:"ping" default:"10s" min:"1s" max:"5m" doc:"Silence after which the node speaks. Proxies in between must allow more."`
	Dead          Duration `yaml:"dead" default:"15s" min:"2s" max:"10m" doc:"Silence of a client after which it is taken for dead. More than ping."`
	PollHold      Duration `yaml:"poll_hold" default:"25s" min:"1s" max:"25s" doc:"How long a poll without messages is held. Many proxies cut at 30 s."`
	Reconnect     Duration `yaml:"reconnect" live:"true" default:"2s" min:"0s" max:"10m" doc:"Window over which lost clients spread their return, at least. It grows, up to 30 s, to the clients of this node for each that the others let in within a second, and of this region for each that the other regions do: 20,000 clients where the others admit 4,000/s come back over 5 s."`
	Idempotency   Duration `yaml:"idempotency" default:"2m" min:"1s" max:"1h" doc:"How long the id of a message is remembered, and at least as long as the longest history: a second one with it is not delivered."`
}

// Log says what is logged and how.
type Log struct {
	Level  string `yaml:"level" default:"info" one:"debug info warn error" doc:"The least important lines that are written."`
	Format string `yaml:"format" default:"text" one:"text json" doc:"Form of a line."`
}

// Drain says how the node leaves.
type Drain struct {
	Deadline Duration `yaml:"deadline" default:"20s" min:"0s" max:"1h" doc:"Time over which clients are sent away, each with a delay of its own. 0: all at once. Kubernetes kills after 30 s unless told otherwise."`
}
