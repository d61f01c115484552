package instrument

// Costs in fuel. A unit is an ordinary instruction. They are such that no unit of
// what computes takes more than 1.4 ns, and of what copies 1.2 ns, where these were
// measured (BenchmarkUnit): 1.5 M units are 2 ms at most. Memory is another
// matter: a guest whose every load waits for memory that no cache holds takes 3.5
// ns per unit with 4 MiB and 35 ns with 16 MiB. Refill has to look at a clock for
// that.
const (
	costEntry    = 4  // of a function: prologue and depth
	costCall     = 2  // besides what the callee is charged
	costIndirect = 4  // with its checks
	costHost     = 64 // call of an imported function
	costEngine   = 64 // instruction that the engine executes outside of compiled code
	costBulk     = 16 // of memory and tables, besides what is charged for the length
	costTable    = 2
	costMemory   = 2 // load and store
	costBranch   = 2 // br_table
	costDivide   = 4
	costRoot     = 6
	costVector   = 2
)

// What is charged for lengths, as shifts: a unit for 64 bytes of memory and for
// 8 elements of a table, 1024 units for a page that is added, 1 for an element.
const (
	shiftBytes    = 6
	shiftElements = 3
	shiftPages    = 10
)

// costs of instructions without a prefix. Those that only say where something is
// cost nothing: every loop has a cost of its own.
var costs = func() (c [256]uint8) {
	for i := range c {
		c[i] = 1
	}
	for _, op := range [...]byte{opNop, opBlock, opLoop, opElse, opEnd, opUnreachable} {
		c[op] = 0
	}
	for op := opI32Load; op <= opI64Store32; op++ {
		c[op] = costMemory
	}
	c[opBrTable] = costBranch
	c[opTableGet], c[opTableSet] = costTable, costTable
	c[opMemoryGrow] = costEngine
	c[opRefFunc] = costEngine
	for op := 0x6d; op <= 0x70; op++ { // i32 div and rem
		c[op] = costDivide
	}
	for op := 0x7f; op <= 0x82; op++ { // i64 div and rem
		c[op] = costDivide
	}
	c[0x95], c[0xa3] = costDivide, costDivide // f32.div, f64.div
	c[0x91], c[0x9f] = costRoot, costRoot     // f32.sqrt, f64.sqrt
	return c
}()
