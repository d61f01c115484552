package instrument

// Caps bound what a module may contain. All are inclusive; 0 allows none.
type Caps struct {
	Module        int // bytes of the upload
	Body          int // bytes of one function's code, with its locals
	Nesting       int // blocks, loops and ifs within each other
	Loops         int // loops within each other, for which the engine's compiler takes longest
	Locals        int // of one function, parameters included
	LocalsTotal   int // of all functions
	Functions     int // imported ones included
	Types         int
	Params        int // of one type; results too
	Targets       int // of one br_table
	Tables        int
	Table         int // elements that all tables may grow to, each; a larger or missing maximum is lowered to this
	Globals       int // imported ones included
	Exports       int
	Imports       int
	ElementGroups int // element segments
	Elements      int // in all segments together
	Data          int // data segments
	Pages         int // of 64 KiB; a larger or missing maximum of the memory is lowered to this
	Name          int // bytes of the name of an import, export or function
}

// DefaultCaps admit guests of Go's toolchain (1300 to 2100 functions, bodies of up
// to 29 KB, 17 locals) and keep the engine's compiler, which takes time that grows
// with the square of some of these, within seconds.
var DefaultCaps = Caps{
	Module:        4 << 20,
	Body:          128 << 10,
	Nesting:       1024, // encoding/json in Go has 550, of which one is a loop
	Loops:         128,
	Locals:        2000,
	LocalsTotal:   200_000,
	Functions:     20_000,
	Types:         4096,
	Params:        64,
	Targets:       8192,
	Tables:        4,
	Table:         64 << 10,
	Globals:       1024,
	Exports:       1024,
	Imports:       64,
	ElementGroups: 4096,
	Elements:      64 << 10,
	Data:          100_000, // a guest in Go has 22 000
	Pages:         256,
	Name:          16 << 10,
}
