package image

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	goruntime "runtime"
)

// PauseName is the image of the process that holds a pod's namespaces.
const PauseName = "sinawi.local/pause:1"

// code is the pause program: let the kernel reap every child (it is the first
// process of a pod that shares its process namespace), then sleep for ever.
//
//	rt_sigaction(SIGCHLD, {SIG_IGN, SA_NOCLDWAIT}, NULL, 8); for { pause() }
//
// The structure for sigaction follows the code; its address is what differs with
// where the program is loaded, so it is given relative to the instruction.
func code(arch string) (machine uint16, text []byte, err error) {
	switch arch {
	case "amd64":
		return 62, append([]byte{
			0xb8, 13, 0, 0, 0, // mov eax, 13 (rt_sigaction)
			0xbf, 17, 0, 0, 0, // mov edi, 17 (SIGCHLD)
			0x48, 0x8d, 0x35, 26, 0, 0, 0, // lea rsi, [rip+26]: the action
			0x31, 0xd2, // xor edx, edx
			0x41, 0xba, 8, 0, 0, 0, // mov r10d, 8
			0x0f, 0x05, // syscall
			0xb8, 34, 0, 0, 0, // again: mov eax, 34 (pause)
			0x0f, 0x05, // syscall
			0xeb, 0xf7, // jmp again
			0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90,
		}, action()...), nil
	case "arm64":
		words := []uint32{
			0xd2800220, // mov x0, 17 (SIGCHLD)
			0x10000161, // adr x1, +44: the action
			0xd2800002, // mov x2, 0
			0xd2800103, // mov x3, 8
			0xd28010c8, // mov x8, 134 (rt_sigaction)
			0xd4000001, // svc 0
			0xd2800000, // again: mov x0, 0
			0xd2800001, // mov x1, 0
			0xd2800002, // mov x2, 0
			0xd2800003, // mov x3, 0
			0xd2800928, // mov x8, 73 (ppoll)
			0xd4000001, // svc 0
			0x17fffffa, // b again
		}
		// adr is the second instruction; the action follows the last.
		words[1] = adr(1, uint32(len(words)-1)*4)
		var buf bytes.Buffer
		_ = binary.Write(&buf, binary.LittleEndian, words)
		return 183, append(buf.Bytes(), action()...), nil
	default:
		return 0, nil, fmt.Errorf("no pause program for %s", arch)
	}
}

// adr encodes arm64's "adr x<register>, +offset".
func adr(register, offset uint32) uint32 {
	return 0x10000000 | (offset&3)<<29 | (offset>>2)<<5 | register
}

// action is the kernel's struct sigaction: SIG_IGN with SA_NOCLDWAIT.
func action() []byte {
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, []uint64{1, 2, 0, 0})
	return b.Bytes()
}

// pauseProgram is an executable of one segment with code in it.
func pauseProgram(arch string) ([]byte, error) {
	machine, text, err := code(arch)
	if err != nil {
		return nil, err
	}
	const base, headers = 0x400000, 64 + 56
	var b bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			_ = binary.Write(&b, binary.LittleEndian, v)
		}
	}
	size := uint64(headers + len(text))
	b.WriteString("\x7fELF")
	put([]byte{2, 1, 1, 0}, uint64(0))                     // 64 bit, little endian, System V
	put(uint16(2), machine, uint32(1))                     // executable
	put(uint64(base+headers), uint64(64), uint64(0))       // entry, program headers, no sections
	put(uint32(0), uint16(64), uint16(56), uint16(1))      // flags, sizes, one program header
	put(uint16(64), uint16(0), uint16(0))                  // no section headers
	put(uint32(1), uint32(5))                              // load, read and execute
	put(uint64(0), uint64(base), uint64(base), size, size) // the whole file
	put(uint64(0x10000))                                   // alignment: the largest page
	b.Write(text)
	return b.Bytes(), nil
}

// PauseProgram is the program in the pause image, for this machine's architecture.
func PauseProgram() ([]byte, error) { return pauseProgram(goruntime.GOARCH) }

// Pause returns the pause image of this machine's architecture.
func Pause() (Spec, error) {
	program, err := pauseProgram(goruntime.GOARCH)
	if err != nil {
		return Spec{}, err
	}
	return Spec{
		Name:       PauseName,
		Files:      []File{{Path: "pause", Data: program, Mode: 0o755}},
		Entrypoint: []string{"/pause"},
		User:       "65535:65535",
		Labels:     map[string]string{"org.opencontainers.image.title": "sinawi-pause"},
	}, nil
}

// EnsurePause brings the pause image into the runtime at socket unless it is there,
// and keeps it from being collected.
func EnsurePause(ctx context.Context, socket string) error {
	spec, err := Pause()
	if err != nil {
		return err
	}
	archive, err := Build(spec)
	if err != nil {
		return err
	}
	return ensure(ctx, socket, spec.Name, archive)
}
