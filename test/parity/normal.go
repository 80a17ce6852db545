package main

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"time"
)

// chosen tells the fields that a server fills as it likes.
func chosen(name string) bool {
	switch name {
	case "uid", "creationTimestamp", "resourceVersion", "time", "caBundle", "authentication.kubernetes.io/credential-id":
		return true
	}
	return false
}

// assigned tells the fields that a server chooses where the request does not.
func assigned(name string) bool {
	switch name {
	case "clusterIP", "clusterIPs", "nodePort", "healthCheckNodePort":
		return true
	}
	return false
}

// normal is an answer's body without what servers choose freely.
func normal(body any) any {
	switch body := body.(type) {
	case object:
		if body["kind"] == "Status" {
			body = normalStatus(body)
		}
		out := object{}
		for name, value := range body {
			switch {
			case chosen(name):
			case name == "metadata":
				out[name] = normalMeta(value)
			case assigned(name) && value != "None":
				out[name] = "assigned"
			default:
				out[normalText(name)] = normal(value) // owners of fields name what they own
			}
		}
		return out
	case []any:
		out := make([]any, 0, len(body))
		for _, item := range body {
			out = append(out, normal(item))
		}
		return out
	case string:
		return normalText(body)
	}
	return body
}

// normalText is a text without random parts, or a mark where it is a time: of now, since
// that of a sample is long ago.
func normalText(text string) string {
	if at, err := time.Parse(time.RFC3339, text); err == nil && time.Since(at).Abs() < 24*time.Hour {
		return "now"
	}
	return uid.ReplaceAllString(tokenVolume.ReplaceAllString(text, "kube-api-access-"), "a uid")
}

// What texts have that servers make up, and how a message shows an object.
var (
	tokenVolume = regexp.MustCompile(`kube-api-access-\w{5}`)
	uid         = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	printed     = regexp.MustCompile(`(?s)^((?:Invalid|Duplicate|Unsupported) value): (?:[\[{].*[\]}]|null)(: |$)`)
)

func normalMeta(value any) any {
	meta, ok := value.(object)
	if !ok {
		return value
	}
	out, _ := normal(meta).(object)
	if generated, _ := out["generateName"].(string); generated != "" {
		delete(out, "name")
	}
	owners, _ := out["managedFields"].([]any)
	for _, o := range owners {
		if o, ok := o.(object); ok {
			delete(o, "manager")
		}
	}
	return out
}

// printedObject stands for an object in a message.
const printedObject = "an object"

// normalStatus is a refusal with its causes in one order. Its message repeats them in
// the server's, and an object in it is printed as the server's language does.
func normalStatus(status object) object {
	details, _ := status["details"].(object)
	causes, _ := details["causes"].([]any)
	if len(causes) == 0 {
		return status
	}
	causes = slices.Clone(causes)
	for i, c := range causes {
		c, _ := c.(object)
		c = copied(c)
		message, _ := c["message"].(string)
		// What follows a line's end is a difference of objects, in the server's words.
		message, _, _ = strings.Cut(message, "\n")
		c["message"] = printed.ReplaceAllString(message, "$1: "+printedObject+"$2")
		causes[i] = c
	}
	text := func(cause any, name string) string {
		c, _ := cause.(object)
		t, _ := c[name].(string)
		return t
	}
	slices.SortFunc(causes, func(a, b any) int {
		return cmp.Or(strings.Compare(text(a, "field"), text(b, "field")), strings.Compare(text(a, "reason"), text(b, "reason")),
			strings.Compare(text(a, "message"), text(b, "message")))
	})
	status, details = copied(status), copied(details)
	delete(status, "message")
	details["causes"], status["details"] = causes, details
	return status
}
