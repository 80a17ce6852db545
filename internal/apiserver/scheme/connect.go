package scheme

import (
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
)

// addConnectOptions lets the query string of a connection (logs, exec,
// port-forward, proxy) be read into its options.
func addConnectOptions(s *runtime.Scheme) error {
	for _, options := range []runtime.Object{
		&corev1.PodLogOptions{}, &corev1.PodExecOptions{}, &corev1.PodAttachOptions{},
		&corev1.PodPortForwardOptions{}, &corev1.PodProxyOptions{},
		&corev1.ServiceProxyOptions{}, &corev1.NodeProxyOptions{},
	} {
		err := s.AddConversionFunc((*url.Values)(nil), options, func(from, to any, _ conversion.Scope) error {
			return readQuery(*from.(*url.Values), reflect.ValueOf(to).Elem())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// readQuery sets the fields of options whose JSON names occur in query. As
// upstream does, it takes the first value of a name that is no list.
func readQuery(query url.Values, options reflect.Value) error {
	t := options.Type()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		values, ok := query[name]
		if name == "" || !ok || len(values) == 0 {
			continue
		}
		if err := setField(options.Field(i), values); err != nil {
			return err
		}
	}
	return nil
}

func setField(field reflect.Value, values []string) error {
	switch p := field.Addr().Interface().(type) {
	case *[]string:
		*p = append([]string(nil), values...)
		return nil
	case *[]int32:
		for _, v := range values {
			for part := range strings.SplitSeq(v, ",") {
				n, err := strconv.ParseInt(part, 10, 32)
				if err != nil {
					return err
				}
				*p = append(*p, int32(n))
			}
		}
		return nil
	case **metav1.Time:
		*p = new(metav1.Time)
		return (*p).UnmarshalQueryParameter(values[0])
	}
	if field.Kind() == reflect.Pointer {
		field.Set(reflect.New(field.Type().Elem()))
		field = field.Elem()
	}
	switch field.Kind() {
	case reflect.String:
		field.SetString(values[0])
	case reflect.Bool:
		field.SetBool(queryBool(values[0]))
	case reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(values[0], 10, field.Type().Bits())
		if err != nil {
			return err
		}
		field.SetInt(n)
	default:
		return fmt.Errorf("unsupported type %s", field.Type())
	}
	return nil
}

// queryBool reads a switch as Kubernetes does: present means on, unless it
// says otherwise.
func queryBool(v string) bool {
	switch strings.ToLower(v) {
	case "false", "0":
		return false
	}
	return true
}
