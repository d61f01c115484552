package instrument

import "fmt"

// Rules that a refusal can name. The names are stable.
const (
	RuleMalformed = "malformed"     // not the binary format: truncated, a number too long, a count that the bytes cannot hold, a section out of order
	RuleIndex     = "index"         // a type, function, global, local, table, memory, segment or label that the module does not define
	RuleOpcode    = "opcode"        // an instruction outside the accepted set: threads, exceptions, tail calls, GC, relaxed SIMD, or unknown
	RuleFeature   = "feature"       // another part of a proposal that is not accepted: memory64, several or shared memories, extended constants, typed references
	RuleImport    = "import"        // an import that is not on the allow-list
	RuleSignature = "signature"     // an import or export of another type than it must have
	RuleReserved  = "reserved-name" // a name that belongs to the relay
	RuleExport    = "export"        // an export that is missing, twice there, or unknown
	RuleImpure    = "impure"        // exports chappe_on_deliver and imports the store, a timer, the clock or randomness
	RuleModule    = "module-size"   // bytes of the module
	RuleBody      = "body-size"     // bytes of one function
	RuleNesting   = "nesting"       // blocks within blocks
	RuleLocals    = "locals"        // locals of one function, with its parameters
	RuleFunctions = "functions"     // functions of the module
	RuleTypes     = "types"         // types of the module
	RuleParams    = "params"        // parameters or results of one type
	RuleTargets   = "br-table"      // targets of one br_table
	RuleTable     = "table"         // tables, and elements of all tables together
	RuleGlobals   = "globals"       // globals
	RuleExports   = "exports"       // number of exports
	RuleImports   = "imports"       // number of imports
	RuleElements  = "elements"      // element segments, and elements in all of them
	RuleData      = "data"          // data segments
	RulePages     = "pages"         // pages of memory at the start
	RuleName      = "name-length"   // bytes of one name
)

// Refusal is why a module is not accepted. It is the only type of error that this
// package returns.
type Refusal struct {
	Rule     string // one of Rule*
	Function int    // index of the function in the upload, imported ones first; -1: not in one
	Offset   int    // bytes from the start of the upload
	Detail   string // for a human; one line
}

func (r *Refusal) Error() string {
	if r.Function < 0 {
		return fmt.Sprintf("rule %s, offset %d: %s", r.Rule, r.Offset, r.Detail)
	}
	return fmt.Sprintf("rule %s, function %d, offset %d: %s", r.Rule, r.Function, r.Offset, r.Detail)
}
