package podnet

import (
	"fmt"
	"reflect"
	"testing"
)

func TestNamesFitAndDiffer(t *testing.T) {
	seen := map[string]string{}
	instances := []string{"sinawi", "sinawi-1a2b3c", "sinawi-zzzzzz", "x"}
	for i := range 200 {
		instances = append(instances, fmt.Sprintf("sinawi-%06x", i*7919))
	}
	for _, instance := range instances {
		n := NamesOf(instance)
		for _, link := range []string{n.Gateway, n.Overlay, n.VethPrefix + "12345678"} {
			if len(link) > MaxLinkName {
				t.Errorf("instance %s: link name %q has %d characters, the kernel takes %d", instance, link, len(link), MaxLinkName)
			}
		}
		v := reflect.ValueOf(n)
		for i := range v.NumField() {
			name := v.Type().Field(i).Name + "=" + v.Field(i).String()
			if other, dup := seen[v.Field(i).String()]; dup {
				t.Errorf("%s of instance %s is also %s", name, instance, other)
			}
			seen[v.Field(i).String()] = instance + "'s " + name
		}
	}
}

func TestNamesKeepTheInstancesDigits(t *testing.T) {
	if got := NamesOf("sinawi-1a2b3c").Gateway; got != "snw1a2b3c" {
		t.Errorf("gateway is called %s, want snw1a2b3c", got)
	}
	if a, b := NamesOf("sinawi"), NamesOf("sinawi"); a != b {
		t.Errorf("names differ from one call to the next: %v, %v", a, b)
	}
}
