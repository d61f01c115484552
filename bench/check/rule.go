package check

// Rule is a promise. Its name stands in a Violation.
type Rule string

// Rules.
const (
	Invented     Rule = "invented"     // a message that nobody published, or in another channel
	Permission   Rule = "permission"   // a message or a subscription that the client may not have
	Repeated     Rule = "repeated"     // a publication twice at one client
	Order        Rule = "order"        // an origin's messages of a channel not in the order of their ticks
	Unaccounted  Rule = "unaccounted"  // neither received nor told as lost; or lost, and nothing was broken that could lose it
	Stored       Rule = "stored"       // acknowledged as stored, and in no history or not received, although its node is back
	Acknowledged Rule = "acknowledged" // the same of replicated, whatever became of its node
	Recovered    Rule = "recovered"    // called recovered when it was known that something is lost; or not, and nothing was told
	Ambiguous    Rule = "ambiguous"    // one position for two messages
	Identity     Rule = "identity"     // one publication twice in a history, or accepted twice while nothing was broken
	Diverged     Rule = "diverged"     // histories that differ after the heal
	Miscounted   Rule = "miscounted"   // what was told by number is not what the node counted, or not what was lost
	Stale        Rule = "stale"        // not connected, or not current, a while after all has healed
	Causeless    Rule = "causeless"    // a gap with no cause
	Interrupted  Rule = "interrupted"  // clients were without a connection for too long
)

// Violation is a promise that was not kept.
type Violation struct {
	Rule Rule
	At   int64
	Who  string
	Text string
}
