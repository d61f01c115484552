package hostile

import "github.com/chappe-relay/chappe/wasm/abi"

// Where the buffers of a [Plugin] are: the input's of abi.InBuffer bytes, the
// output's of abi.OutBatch.
const (
	In  = 0x10000
	Out = In + abi.InBuffer
)

// pages of a Plugin: one below its buffers, and these.
const pages = 1 + (abi.InBuffer+abi.OutBatch)>>16

// Plugin returns a builder of a module that has what the plugin ABI asks for but
// hooks. Imports are added by with, before anything else; nil: none.
func Plugin(with func(*Builder)) *Builder {
	b := &Builder{Pages: pages}
	if with != nil {
		with(b)
	}
	b.Export("memory", 2, 0)
	b.Export(abi.ExportMarker, 0, b.Func("", "", ""))
	b.Export(abi.ExportBuffers, 0, b.Func("i32 i32 -> i64", "", buffers))
	return b
}

const buffers = "i64.const 0x1000000050000" // In<<32 | Out, checked by the package's test

// Hook adds a hook of the given code, which has to leave an i64.
func (b *Builder) Hook(export, locals, code string) {
	b.Export(export, 0, b.Func("i32 -> i64", locals, code))
}

// allow is the verdict Allow.
const allow = " i64.const 1 "
