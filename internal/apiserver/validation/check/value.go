package check

import (
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// OnlyFields refuses fields of the struct value that are set and not allowed.
func OnlyFields(value any, detail string, fieldPath *field.Path, allowed ...string) field.ErrorList {
	var l List
	v := reflect.ValueOf(value)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if slices.Contains(allowed, name) || v.Field(i).IsZero() {
			continue
		}
		first, size := utf8.DecodeRuneInString(name)
		l.Forbidden(fieldPath.Child(string(unicode.ToLower(first))+name[size:]), detail)
	}
	return l.Errors
}

// PortOrName checks a port that is a number or the name of one.
func (l *List) PortOrName(path *field.Path, port intstr.IntOrString) {
	switch port.Type {
	case intstr.Int:
		l.Messages(path, port.IntValue(), validation.IsValidPortNum(port.IntValue()))
	case intstr.String:
		l.Messages(path, port.StrVal, validation.IsValidPortName(port.StrVal))
	default:
		l.Add(field.InternalError(path, fmt.Errorf("unknown type: %v", port.Type)))
	}
}

// Protocol checks the protocol of a port.
func (l *List) Protocol(path *field.Path, p corev1.Protocol) {
	RequiredOneOf(l, path, p, corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)
}

// Mode checks the permission bits of a file.
func (l *List) Mode(path *field.Path, mode *int32) {
	if mode != nil && (*mode < 0 || *mode > 0o777) {
		l.Invalid(path, *mode, "must be a number between 0 and 0777 (octal), both inclusive")
	}
}

// NoBacksteps refuses a path with an element "..".
func (l *List) NoBacksteps(fieldPath *field.Path, target string) {
	if slices.Contains(strings.Split(target, "/"), "..") {
		l.Invalid(fieldPath, target, "must not contain '..'")
	}
}

// DescendingPath refuses a path that is absolute or leads upwards.
func (l *List) DescendingPath(fieldPath *field.Path, target string) {
	if path.IsAbs(target) {
		l.Invalid(fieldPath, target, "must be a relative path")
	}
	l.NoBacksteps(fieldPath, target)
}

// VolumePath is DescendingPath for files that are written into a volume,
// where names that begin with ".." are the writer's own.
func (l *List) VolumePath(fieldPath *field.Path, target string) {
	l.DescendingPath(fieldPath, target)
	if strings.HasPrefix(target, "..") && !strings.HasPrefix(target, "../") {
		l.Invalid(fieldPath, target, "must not start with '..'")
	}
}

// IP checks an address as the core group accepts it: no leading
// zeros and no IPv4 address written as IPv6.
func (l *List) IP(path *field.Path, address string) {
	l.Add(validation.IsValidIPForLegacyField(path, address, true, nil)...)
}

// CIDR checks a network as the core group accepts it.
func (l *List) CIDR(path *field.Path, network string) {
	l.Add(validation.IsValidCIDRForLegacyField(path, network, true, nil)...)
}

// EndpointIP refuses addresses that lead to no other machine: unspecified,
// loopback, link-local.
func (l *List) EndpointIP(path *field.Path, address string) {
	ip := netutils.ParseIPSloppy(address)
	switch {
	case ip == nil:
		l.Invalid(path, address, "must be a valid IP address")
	case ip.IsUnspecified():
		l.Invalid(path, address, fmt.Sprintf("may not be unspecified (%v)", address))
	case ip.IsLoopback():
		l.Invalid(path, address, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
	case ip.IsLinkLocalUnicast():
		l.Invalid(path, address, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
	case ip.IsLinkLocalMulticast():
		l.Invalid(path, address, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
	}
}

// Quantity checks the amount of a resource: not negative, and whole where the
// resource comes in pieces.
func (l *List) Quantity(path *field.Path, name corev1.ResourceName, q resource.Quantity) {
	if q.Sign() < 0 {
		l.Invalid(path, q.String(), MustNotBeNegative)
	}
	if IsInteger(name) && q.MilliValue()%1000 != 0 {
		l.Invalid(path, q, "must be an integer")
	}
}

// PositiveQuantity refuses zero and less.
func (l *List) PositiveQuantity(path *field.Path, q resource.Quantity) {
	if q.Sign() <= 0 {
		l.Invalid(path, q.String(), MustBePositive)
	}
}
