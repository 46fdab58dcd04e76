# SPDX-License-Identifier: Apache-2.0
"""Between the contract's messages and the model's values, a module for each resource.

`to_model(message, ...)` looks at every field that can be set, adds what is wrong to `found` under the field's path in
the request, and is None if there is any; what is output only it ignores. `to_message` never fails: text of the kernel's
that is no UTF-8 has replacement characters.
"""
