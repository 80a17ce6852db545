package instance

import (
	"strings"
	"testing"
)

func TestName(t *testing.T) {
	def, err := Open("/var/lib/sinawi/")
	if err != nil {
		t.Fatal(err)
	}
	if got := def.Name(); got != "sinawi" {
		t.Errorf("default instance is called %q, want sinawi", got)
	}
	a, b := Dir("/tmp/a").Name(), Dir("/tmp/b").Name()
	if a == b {
		t.Errorf("two directories share the name %s", a)
	}
	if !strings.HasPrefix(string(a), "sinawi-") || len(a) != len("sinawi-")+6 {
		t.Errorf("got %q, want sinawi- and six digits", a)
	}
}

func TestOpenRelative(t *testing.T) {
	t.Chdir(t.TempDir())
	d, err := Open("data")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(d.Kubeconfig(), "/") {
		t.Errorf("kubeconfig path %q is not absolute", d.Kubeconfig())
	}
}
